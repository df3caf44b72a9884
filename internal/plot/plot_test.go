package plot

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// elements parses an SVG and counts its elements by name.
func elements(t *testing.T, data []byte) map[string]int {
	t.Helper()
	count := map[string]int{}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return count
		}
		if err != nil {
			t.Fatalf("%v in %s", err, data)
		}
		if e, ok := tok.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
}

func TestSVG(t *testing.T) {
	var b bytes.Buffer
	err := SVG(&b,
		Chart{Title: "a < b & c", X: "x", Y: "y", Series: []Series{
			{Name: "line", X: []float64{0, 1, 2}, Y: []float64{3, math.NaN(), 5}},
			{Name: "points", X: []float64{0, 1, math.Inf(1)}, Y: []float64{1, 2, 3}, Points: true},
		}},
		Chart{Title: "nothing"},
		Chart{Series: []Series{{}, {X: []float64{0}, Y: []float64{0}}}},
	)
	if err != nil {
		t.Fatal(err)
	}
	got := elements(t, b.Bytes())
	if got["svg"] != 1 || got["g"] != 3 || got["circle"] != 2 || got["polyline"] != 3 {
		t.Errorf("%v", got)
	}
	if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") || !strings.Contains(b.String(), "a &lt; b &amp; c") {
		t.Error(b.String())
	}
	// The line goes from the axis' lower left, 3 of 5 up, to the upper right.
	if !strings.Contains(b.String(), `points="70.0,130.4 570.0,36.0 "`) {
		t.Error(b.String())
	}
}

func TestManyPoints(t *testing.T) {
	x := make([]float64, 100_000)
	var b bytes.Buffer
	if err := SVG(&b, Chart{Series: []Series{{X: x, Y: x, Points: true}}}); err != nil {
		t.Fatal(err)
	}
	if n := elements(t, b.Bytes())["circle"]; n != maxPoints {
		t.Errorf("%d points", n)
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct{ most, end, step float64 }{
		{0, 1, 0.2}, {1, 1, 0.2}, {8, 8, 1}, {8.1, 10, 2}, {16, 16, 2}, {99, 100, 20}, {4250, 5000, 1000}, {0.003, 0.003, 0.0005}, {1e9, 1e9, 2e8},
	} {
		got := axis([]Series{{X: []float64{c.most}}}, func(s Series) []float64 { return s.X })
		if math.Abs(got.end-c.end) > 1e-9*c.end || math.Abs(got.step-c.step) > 1e-9*c.step {
			t.Errorf("%v: %+v", c.most, got)
		}
	}
}
