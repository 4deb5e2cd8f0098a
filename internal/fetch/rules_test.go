package fetch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// rules names what keeps a job from hanging, and the tests that fail when the
// timer behind it is taken away.
var rules = []struct{ rule, timer, tests string }{
	{"a silent lane loses its work to others", "lane.soft", "TestSilentLane TestSilentLaneIsRobbed"},
	{"a silent lane is closed and dialled again", "lane.hard", "TestSilentLane"},
	{"a lane that drips is closed", "patience", "TestDripperAmongTwo TestDrippingLanes"},
	{"a lane far slower than the others is replaced", "slowFor", "TestStragglerIsReplaced"},
	{"but lanes are not all replaced at once", "recycleEvery", "TestRecyclingIsPaced"},
	{"when nothing arrives, a fresh connection is tried every second", "darkInterval", "TestBlackout TestAllLanesAreForgotten"},
	{"two old flows are kept for links that filter new ones", "keptFlows", "TestOldFlowRevives"},
	{"a dial ends", "dialTimeout", "TestDialThatNeverAnswers TestBlackout"},
	{"a dial that needs long gets long", "dialPatient", "TestSlowConnect"},
	{"a lane that failed is dialled again soon", "jitterMax", "TestServerRestart TestNoStorms"},
	{"an exchange that is silent is tried again elsewhere", "Config.Stall", "TestDoEndsSilence"},
	{"a refusal is over when the server said", "RetryAfter", "TestRetryAfterIsHonoured TestDoHonoursRetryAfter"},
	{"a lane that failed a request gets others again", "lane.pause", "TestObjectThatFails"},
	{"a machine that slept does not wait for dead lanes", "gapAfter", "TestClockGap"},
	{"this side's waiting is named", "stuckAfter", "TestHoldStopsTheClock"},
	{"the last blocks do not wait for a slow lane", "hedge", "TestTailIsHedged"},
	{"the job ends when nothing arrives", "Config.Timeout", "TestTimeout TestDrippingLanes TestEmptyAnswers"},
	{"the job ends when nobody ever answers", "Config.ConnectTimeout", "TestConnectTimeout"},
	{"the job ends at its deadline", "Config.Deadline", "TestDeadline"},
	{"the end does not wait for a lane or a disk that hangs", "endGrace", "TestRunEndsAlthoughALaneIsDeaf TestRunEndsAlthoughAWriteHangs"},
	{"idle lanes end", "Config.IdleClose", "TestLanesAreDialledLazily"},
	{"a mirror that has nothing to give does not count as the link", "drain, anyLive", "TestMirrorsShareAnObject"},
	{"what only a mirror has that is away is given up", "awayAfter", "TestMirrorsShareAnObject"},
	{"a connection that takes long is raced by another", "raceAfter", "TestDialsAreRaced TestMirrorsOneIsDead"},
	{"an exchange does not wait for the server that it was on", "homeWait", "TestExchangesStayAtHome"},
	{"lanes that do not come do not stop the search for a better number", "arriveMax", "TestClimbWaits"},
	{"a number of lanes that was too many, or too few, is tried again", "restAfter", "TestClimbRests"},
	{"lanes that a server refused come back", "regrow", "TestClimbObeys"},
	{"a job that gives way never stops", "yieldLeast", "TestNiceYields"},
}

// TestRules checks that the tests which the rules name are there.
func TestRules(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				have[fn.Name.Name] = true
			}
		}
	}
	for _, r := range rules {
		for _, name := range strings.Fields(r.tests) {
			if !have[name] {
				t.Errorf("%q: there is no %s", r.rule, name)
			}
		}
	}
}
