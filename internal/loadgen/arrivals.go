package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"
)

// Spaced returns n equal requests: rate of them each second, all at once if the
// rate is 0. With poisson the time between two is random, as if many clients
// came who know nothing of each other.
func Spaced(n int, rate float64, poisson bool, seed uint64, prompt, output int) []Arrival {
	rng := rand.New(rand.NewPCG(seed, arrivalStream))
	arrivals := make([]Arrival, n)
	mean := 0.0 // between two, in nanoseconds
	if rate > 0 {
		mean = float64(time.Second) / rate
	}
	at := 0.0 // in means
	for i := range arrivals {
		arrivals[i] = Arrival{At: time.Duration(at * mean), Prompt: prompt, Output: output}
		if poisson {
			at += rng.ExpFloat64()
		} else {
			at++
		}
	}
	return arrivals
}

// Streams of the generator of random numbers.
const (
	arrivalStream = 1 << 40
	promptStream  = 1 << 41
)

// maxTraceLine bounds a line of a trace: they hold a few numbers, and in some
// published traces the hashes of a prompt's blocks, which are not used here.
const maxTraceLine = 1 << 20

// ReadTrace reads a load from JSON lines, in the form that Mooncake's traces made
// common: {"timestamp": milliseconds, "input_length": tokens, "output_length":
// tokens}. Other members are ignored. Times count from the first line's.
func ReadTrace(r io.Reader) ([]Arrival, error) {
	var arrivals []Arrival
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxTraceLine)
	first := 0.0
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var line struct {
			Timestamp *float64 `json:"timestamp"`
			Input     int      `json:"input_length"`
			Output    int      `json:"output_length"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if line.Timestamp == nil || line.Input < 1 || line.Output < 1 {
			return nil, fmt.Errorf(`line %d: give "timestamp", "input_length" and "output_length"`, n)
		}
		if len(arrivals) == 0 {
			first = *line.Timestamp
		}
		if len(arrivals) == MaxRequests {
			return nil, fmt.Errorf("line %d: more than %d requests", n, MaxRequests)
		}
		at := (*line.Timestamp - first) * float64(time.Millisecond)
		if at < 0 || at > float64(1000*time.Hour) {
			return nil, fmt.Errorf("line %d: the time %v is before the first line's, or too late", n, *line.Timestamp)
		}
		arrivals = append(arrivals, Arrival{At: time.Duration(at), Prompt: line.Input, Output: line.Output})
	}
	return arrivals, lines.Err()
}

// Stretch changes the times of a load so that it offers rate requests a second,
// and keeps its pattern.
func Stretch(arrivals []Arrival, rate float64) {
	if len(arrivals) < 2 {
		return
	}
	last := arrivals[len(arrivals)-1].At
	want := float64(len(arrivals)-1) / rate * float64(time.Second)
	for i := range arrivals {
		if last == 0 { // all at once has no pattern
			arrivals[i].At = time.Duration(float64(i) / rate * float64(time.Second))
		} else {
			arrivals[i].At = time.Duration(float64(arrivals[i].At) * (want / float64(last)))
		}
	}
}
