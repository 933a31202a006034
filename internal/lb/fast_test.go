package lb

import (
	"testing"

	"github.com/lotse-project/lotse/internal/lbconfig"
)

// The fast engine passes the tests of the other one.
func TestFastEngine(t *testing.T) {
	testEngine = lbconfig.EngineFast
	t.Cleanup(func() { testEngine = lbconfig.EngineStd }) // after those in parallel, too
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"Behaviour", TestBehaviour},
		{"AccessLog_Lines", TestAccessLog_Lines},
		{"AccessLog_OnlyWhereItIsOn", TestAccessLog_OnlyWhereItIsOn},
		{"AccessLog_OverTLS", TestAccessLog_OverTLS},
		{"AccessLog_Tunnel", TestAccessLog_Tunnel},
		{"ConnectionLog_Lines", TestConnectionLog_Lines},
		{"Meters", TestMeters},
		{"Meters_Kinds", TestMeters_Kinds},
		{"Changes_LoseNothing", TestChanges_LoseNothing},
		{"Anomaly_IsMitigated", TestAnomaly_IsMitigated},
		{"Algorithm_LeastOutstandingAvoidsTheBusy", TestAlgorithm_LeastOutstandingAvoidsTheBusy},
		{"Drain_EndsWhenNothingIsInFlight", TestDrain_EndsWhenNothingIsInFlight},
		{"Drain_DelayIsACeiling", TestDrain_DelayIsACeiling},
		{"Drain_Revived", TestDrain_Revived},
		{"Drain_NoRequestIsLost", TestDrain_NoRequestIsLost},
		{"Apply_SwapsUnderLoad", TestApply_SwapsUnderLoad},
		{"Apply_PortsComeAndGo", TestApply_PortsComeAndGo},
		{"Routing_ByHealth", TestRouting_ByHealth},
		{"Routing_OnlyInitial", TestRouting_OnlyInitial},
		{"Ingress_AtPublicAddresses", TestIngress_AtPublicAddresses},
		{"Ingress_AtTheFront", TestIngress_AtTheFront},
		{"Targets_Protocols", TestTargets_Protocols},
		{"Targets_WrongProtocol", TestTargets_WrongProtocol},
		{"Trailers", TestTrailers},
		{"Proxy_TargetsTakeTurns", TestProxy_TargetsTakeTurns},
		{"Proxy_Rules", TestProxy_Rules},
		{"Proxy_WeightsAreShares", TestProxy_WeightsAreShares},
		{"Proxy_OwnAnswers", TestProxy_OwnAnswers},
		{"Proxy_HeadersForTheTarget", TestProxy_HeadersForTheTarget},
		{"Proxy_RefusesWhatAWSRefuses", TestProxy_RefusesWhatAWSRefuses},
		{"Proxy_Rewrites", TestProxy_Rewrites},
		{"Smuggling_TargetsSeeTheBalancersRequests", TestSmuggling_TargetsSeeTheBalancersRequests},
		{"Hostile_ConnectionFlood", TestHostile_ConnectionFlood},
		{"Hostile_Slowloris", TestHostile_Slowloris},
		{"Sticky_BalancerCookie", TestSticky_BalancerCookie},
		{"Sticky_ApplicationCookie", TestSticky_ApplicationCookie},
		{"Sticky_TargetGroup", TestSticky_TargetGroup},
		{"Stream_BothWaysAtOnce", TestStream_BothWaysAtOnce},
		{"Stream_LargeBodies", TestStream_LargeBodies},
		{"Stream_Upgrade", TestStream_Upgrade},
		{"Stream_ExpectContinue", TestStream_ExpectContinue},
		{"EarlyAnswer_BodyIsNoRequest", TestEarlyAnswer_BodyIsNoRequest},
		{"Stream_InterimAnswers", TestStream_InterimAnswers},
		{"Stream_Framing", TestStream_Framing},
		{"Failure_OfTargets", TestFailure_OfTargets},
		{"Failure_IdleTimeouts", TestFailure_IdleTimeouts},
		{"Failure_ClientGoesAway", TestFailure_ClientGoesAway},
		{"Failure_ClientThatDoesNotRead", TestFailure_ClientThatDoesNotRead},
		{"TLS_ForwardsOverBothProtocols", TestTLS_ForwardsOverBothProtocols},
		{"TLS_AnswersOfItsOwn", TestTLS_AnswersOfItsOwn},
		{"TLS_CertificateChangeLosesNothing", TestTLS_CertificateChangeLosesNothing},
		{"Listener_ChangesHeaders", TestListener_ChangesHeaders},
		{"Upstream_ConnectionsAreKept", TestUpstream_ConnectionsAreKept},
		{"Upstream_NoReplay", TestUpstream_NoReplay},
		{"Upstream_RetryOfTheUnsent", TestUpstream_RetryOfTheUnsent},
	} {
		t.Run(c.name, c.test)
	}
}
