package fake_test

import (
	"testing"

	"github.com/lotse-project/lotse/internal/runtime"
	"github.com/lotse-project/lotse/internal/runtime/contract"
	"github.com/lotse-project/lotse/internal/runtime/fake"
)

func TestEngine_Contract(t *testing.T) {
	absent := runtime.Image{Digest: "sha256:absent", Name: "absent"}
	contract.Run(t, contract.Subject{
		Engine: &fake.Engine{Program: contract.Program, Command: contract.Command, Missing: func(i runtime.Image) bool { return i == absent }},
		Image:  runtime.Image{Digest: "sha256:present", Name: "contract"},
		Absent: absent,
	})
}
