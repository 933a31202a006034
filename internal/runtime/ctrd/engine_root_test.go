package ctrd

import (
	"testing"

	"github.com/lotse-project/lotse/internal/runtime/contract"
)

func TestEngine_Contract(t *testing.T) {
	l := newLab(t)
	contract.Run(t, l.Subject)
}
