package wiretest_test

import (
	"flag"
	"testing"

	"github.com/lotse-project/lotse/internal/awswire/wiretest"
)

var (
	seed   = flag.Uint64("wire.seed", 1, "seed of the random inputs and outputs")
	rounds = flag.Int("wire.rounds", 3, "random inputs and outputs for each operation")
)

// TestOracle_SDKClientsAgree sends every operation of every client.
func TestOracle_SDKClientsAgree(t *testing.T) {
	for _, s := range wiretest.Services() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			e := wiretest.NewEcho(t, s)
			for round := range *rounds {
				f := e.Filler(*seed + uint64(round))
				f.Full = round == 0
				for _, op := range e.Operations {
					if bad := e.Check(t.Context(), op, f.New(op.In), f.New(op.Out)); bad != "" {
						t.Errorf("%s: %s", op.Name, bad)
					}
				}
			}
			t.Logf("%d operations", len(e.Operations))
		})
	}
}
