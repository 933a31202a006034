package task

import (
	"strings"
	"testing"

	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/lotse-project/lotse/internal/state"
	"github.com/lotse-project/lotse/internal/store"
)

// What a container's options say goes before the account's setting, which goes before the default.
func TestLogMode(t *testing.T) {
	id := strings.Repeat("ab", 16)
	for _, tc := range []struct{ own, account, want string }{
		{"", "", ""},
		{"", "blocking", "blocking"},
		{"non-blocking", "blocking", "non-blocking"},
	} {
		b := newBench(t, func(_ *state.Task, d *ecstypes.TaskDefinition) {
			o := map[string]string{"awslogs-group": "there", "awslogs-region": here.Region, "awslogs-stream-prefix": "x"}
			if tc.own != "" {
				o["mode"] = tc.own
			}
			d.ContainerDefinitions[0].LogConfiguration = &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: o}
		})
		if tc.account != "" {
			err := b.db.Update(t.Context(), func(tx *store.WriteTx) error {
				key := here.Key("arn:aws:iam::"+here.Account+":root", "defaultLogDriverMode")
				return state.AccountSettings.Put(tx, &store.Object[state.AccountSetting]{Key: key, Val: state.AccountSetting{Value: tc.account}})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		b.until("RUNNING")
		spec, _ := b.engine.Spec(id)
		if got := spec.Containers[0].Log.Mode; got != tc.want {
			t.Errorf("mode %q of the container, %q of the account: %q, want %q", tc.own, tc.account, got, tc.want)
		}
	}
}
