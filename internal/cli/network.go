package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/spf13/cobra"
)

func (a *app) networkCommand() *cobra.Command {
	c := &cobra.Command{Use: "network", Short: "What security groups let through and what they drop"}
	c.AddCommand(a.networkCounters())
	return c
}

func (a *app) networkCounters() *cobra.Command {
	var vpc string
	c := &cobra.Command{Use: "counters", Short: "How often each rule was met, and how many packets were dropped", Args: cobra.NoArgs,
		Long: `Shows the kernel's own counters of a VPC's security groups. For a rule that lets something
through, the first packet of each connection counts; every packet that is dropped counts.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := a.target(cmd.Context())
			if err != nil {
				return err
			}
			if t.local == nil {
				return fmt.Errorf("%s is no Lotse server", t.banner())
			}
			var counters []struct {
				Group          string
				Addr           netip.Addr
				In, Drop       bool
				Rule           string
				Packets, Bytes uint64
			}
			if err := t.local.call(cmd.Context(), http.MethodGet, "/_lotse/counters?vpc="+url.QueryEscape(vpc), nil, &counters); err != nil {
				return err
			}
			if a.flags.output == "json" {
				return json.NewEncoder(a.out).Encode(counters)
			}
			for _, c := range counters {
				direction := map[bool]string{true: "in", false: "out"}[c.In]
				switch {
				case c.Drop && c.Addr.IsValid():
					fmt.Fprintf(a.out, "%-8d dropped   %-3s %s\n", c.Packets, direction, c.Addr)
				case c.Group != "":
					fmt.Fprintf(a.out, "%-8d accepted  %-3s %s  %s\n", c.Packets, direction, c.Group, c.Rule)
				}
			}
			return nil
		}}
	c.Flags().StringVar(&vpc, "vpc", "", "the VPC's id (else the default VPC)")
	return c
}
