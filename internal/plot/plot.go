// Package plot draws line charts and scatter plots as SVG, enough to look at what
// a benchmark measured.
package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
)

// Chart is one plot. Its axes begin at 0.
type Chart struct {
	Title  string
	X, Y   string // what the axes show, with the unit
	Series []Series
}

// Series is a set of points; X and Y are equally long. What is not finite is
// left out.
type Series struct {
	Name   string
	X, Y   []float64
	Points bool // draw the points alone, not a line through them
}

// Size of a chart and of the room around its axes, in pixels.
const (
	width, height            = 720, 320
	left, right, top, bottom = 70, 150, 36, 48
	maxPoints                = 4000 // of a series; of more, every n-th is drawn
)

// colours can be told apart by people with the common kinds of colour blindness
// (Okabe and Ito).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// SVG writes charts, one below the other.
func SVG(w io.Writer, charts ...Chart) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height*len(charts))
	fmt.Fprint(&b, `<rect width="100%" height="100%" fill="white"/>`+"\n")
	for i, c := range charts {
		fmt.Fprintf(&b, `<g transform="translate(0,%d)">`+"\n", i*height)
		c.draw(&b)
		fmt.Fprint(&b, "</g>\n")
	}
	fmt.Fprint(&b, "</svg>\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (c *Chart) draw(b *bytes.Buffer) {
	xs, ys := axis(c.Series, func(s Series) []float64 { return s.X }), axis(c.Series, func(s Series) []float64 { return s.Y })
	px := func(x float64) float64 { return left + x/xs.end*(width-left-right) }
	py := func(y float64) float64 { return height - bottom - y/ys.end*(height-top-bottom) }
	text(b, width/2-right/2+left/2, 20, "middle", `font-weight="bold"`, c.Title)
	for v := 0; float64(v)*xs.step <= xs.end*1.0001; v++ {
		x := float64(v) * xs.step
		line(b, px(x), py(0), px(x), py(ys.end), "#ddd")
		text(b, px(x), height-bottom+16, "middle", "", number(x))
	}
	for v := 0; float64(v)*ys.step <= ys.end*1.0001; v++ {
		y := float64(v) * ys.step
		line(b, px(0), py(y), px(xs.end), py(y), "#ddd")
		text(b, left-6, py(y)+4, "end", "", number(y))
	}
	line(b, px(0), py(0), px(xs.end), py(0), "black")
	line(b, px(0), py(0), px(0), py(ys.end), "black")
	text(b, (left+width-right)/2, height-10, "middle", "", c.X)
	text(b, 16, (top+height-bottom)/2, "middle", fmt.Sprintf(`transform="rotate(-90 16 %d)"`, (top+height-bottom)/2), c.Y)
	for i, s := range c.Series {
		colour := colours[i%len(colours)]
		s.draw(b, px, py, colour)
		y := float64(top + 8 + 18*i)
		fmt.Fprintf(b, `<rect x="%d" y="%s" width="12" height="4" fill="%s"/>`+"\n", width-right+12, number(y-2), colour)
		text(b, width-right+30, y+4, "start", "", s.Name)
	}
}

func (s *Series) draw(b *bytes.Buffer, px, py func(float64) float64, colour string) {
	step := (len(s.X) + maxPoints - 1) / maxPoints
	if !s.Points {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, colour)
	}
	for i := 0; i < len(s.X); i += step {
		x, y := s.X[i], s.Y[i]
		if !finite(x) || !finite(y) {
			continue
		}
		if s.Points {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="2" fill="%s" fill-opacity="0.6"/>`+"\n", px(x), py(y), colour)
		} else {
			fmt.Fprintf(b, "%.1f,%.1f ", px(x), py(y))
		}
	}
	if !s.Points {
		fmt.Fprint(b, `"/>`+"\n")
	}
}

// scale is an axis from 0 to end with a mark at each step.
type scale struct{ end, step float64 }

// axis chooses marks at 1, 2 or 5 times a power of ten, at most eight of them.
func axis(series []Series, of func(Series) []float64) scale {
	most := 0.0
	for _, s := range series {
		for _, v := range of(s) {
			if finite(v) {
				most = max(most, v)
			}
		}
	}
	if most == 0 {
		most = 1
	}
	step := math.Pow(10, math.Floor(math.Log10(most/8)))
	for _, m := range []float64{1, 2, 5, 10} {
		if most/(m*step) <= 8 {
			step *= m
			break
		}
	}
	return scale{end: math.Ceil(most/step-1e-9) * step, step: step}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// number writes a coordinate or a mark without digits that say nothing.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

func line(b *bytes.Buffer, x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func text(b *bytes.Buffer, x, y float64, anchor, more, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>`, x, y, anchor, more)
	_ = xml.EscapeText(b, []byte(s)) // a buffer takes all
	fmt.Fprint(b, "</text>\n")
}
