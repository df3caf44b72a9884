package server

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/valyala/fasthttp"

	"github.com/holdfast-run/holdfast/engine"
	"github.com/holdfast-run/holdfast/session"
)

// latencyBuckets are those of other inference servers, so that dashboards fit.
var latencyBuckets = []float64{
	.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
}

// serverMetrics are the metrics that the server itself counts. Those of the
// worker are read from its Stats when somebody asks.
type serverMetrics struct {
	set        *metrics.Set
	firstToken *metrics.PrometheusHistogram
	interToken *metrics.PrometheusHistogram
	committed  *metrics.Counter // turns that became history
	cut        *metrics.Counter // turns that were interrupted
	census     census
}

func newMetrics() *serverMetrics {
	set := metrics.NewSet()
	return &serverMetrics{
		set:        set,
		firstToken: set.NewPrometheusHistogramExt("holdfast_time_to_first_token_seconds", latencyBuckets),
		interToken: set.NewPrometheusHistogramExt("holdfast_inter_token_latency_seconds", latencyBuckets),
		committed:  set.NewCounter(`holdfast_turns_total{end="committed"}`),
		cut:        set.NewCounter(`holdfast_turns_total{end="interrupted"}`),
	}
}

// countRequest counts an answer. Routes and codes are few, so the label values
// are.
func (m *serverMetrics) countRequest(route string, code int) {
	m.set.GetOrCreateCounter(fmt.Sprintf(`holdfast_requests_total{route=%q,code="%d"}`, route, code)).Inc()
}

// writeMetrics serves GET /metrics in Prometheus' text format.
func (s *Server) writeMetrics(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; version=0.0.4; charset=utf-8")
	w := ctx.Response.BodyWriter()
	s.metrics.set.WritePrometheus(w)
	st := s.worker.Stats()
	metrics.WriteGaugeUint64(w, "holdfast_waiting_requests", uint64(st.Waiting))
	metrics.WriteGaugeUint64(w, "holdfast_running_sequences", uint64(st.Running))
	metrics.WriteGaugeUint64(w, "holdfast_kv_blocks_total", uint64(st.BlocksTotal))
	metrics.WriteGaugeUint64(w, "holdfast_kv_blocks_used", uint64(st.BlocksUsed))
	metrics.WriteGaugeUint64(w, "holdfast_kv_blocks_cached", uint64(st.BlocksCached))
	metrics.WriteCounterUint64(w, "holdfast_cached_prompt_tokens_total", st.CachedTokens)
	metrics.WriteGaugeFloat64(w, "holdfast_last_step_age_seconds", st.LastStepAge.Seconds())
	metrics.WriteCounterUint64(w, "holdfast_steps_total", st.Steps)
	metrics.WriteCounterUint64(w, "holdfast_prompt_tokens_total", st.PromptTokens)
	metrics.WriteCounterUint64(w, "holdfast_completion_tokens_total", st.CompletionTokens)
	metrics.WriteCounterUint64(w, "holdfast_cancelled_requests_total", st.Cancelled)
	metrics.WriteCounterUint64(w, "holdfast_expired_requests_total", st.Expired)
	metrics.WriteCounterUint64(w, "holdfast_preemptions_total", st.Preemptions)
	metrics.WriteCounterUint64(w, "holdfast_preemptions_to_host_total", st.Offloads)
	metrics.WriteCounterUint64(w, "holdfast_kv_evictions_total", st.Evictions)
	metrics.WriteCounterUint64(w, "holdfast_logits_without_number_total", st.Retries)
	metrics.WriteCounterUint64(w, "holdfast_device_faults_total", st.DeviceFaults)
	metrics.WriteCounterUint64(w, "holdfast_device_rebuilds_total", st.DeviceRebuilds)
	metrics.WriteCounterUint64(w, "holdfast_replayed_sequences_total", st.Replayed)
	metrics.WriteCounterUint64(w, "holdfast_kv_blocks_stored_total", st.StoredBlocks)
	metrics.WriteCounterUint64(w, "holdfast_kv_blocks_loaded_total", st.LoadedBlocks)
	metrics.WriteCounterUint64(w, "holdfast_kv_blocks_missed_total", st.MissedBlocks)
	metrics.WriteCounterUint64(w, "holdfast_kv_blocks_corrupt_total", st.CorruptBlocks)
	metrics.WriteCounterUint64(w, "holdfast_kv_blocks_dropped_total", st.DroppedBlocks)
	metrics.WriteCounterUint64(w, "holdfast_kv_restores_total", st.Restores)
	metrics.WriteCounterUint64(w, "holdfast_kv_restored_tokens_total", st.RestoredTokens)
	metrics.WriteCounterUint64(w, "holdfast_kv_store_failures_total", st.StoreFailures)
	metrics.WriteGaugeUint64(w, "holdfast_kv_store_bytes", uint64(st.StoreBytes))
	metrics.WriteGaugeUint64(w, "holdfast_kv_store_limit_bytes", uint64(st.StoreLimit))
	metrics.WriteGaugeUint64(w, "holdfast_queued_prompt_tokens", uint64(max(s.queue.tokens.Load(), 0)))
	metrics.WriteGaugeUint64(w, "go_goroutines", uint64(runtime.NumGoroutine()))
	metrics.WriteGaugeUint64(w, "holdfast_connections", uint64(max(s.conns.now.Load(), 0)))
	if m := s.cfg.Sessions; m != nil {
		writeSessions(w, s.metrics.census.take(m.Status, time.Now))
	}
	writeAliases(w, s.worker.Info(), st)
}

// writeSessions says how the sessions and their log are.
func writeSessions(w io.Writer, st session.Status) {
	for _, state := range session.States {
		metrics.WriteGaugeUint64(w, fmt.Sprintf("holdfast_sessions{state=%q}", state), uint64(st.States[state]))
	}
	metrics.WriteGaugeUint64(w, "holdfast_sessions_behind", uint64(st.Behind))
	metrics.WriteGaugeUint64(w, "holdfast_log_segments", uint64(st.Log.Segments))
	metrics.WriteCounterUint64(w, "holdfast_log_bytes_total", uint64(st.Log.Durable))
	metrics.WriteCounterUint64(w, "holdfast_log_syncs_total", st.Log.Batches)
	metrics.WriteCounterUint64(w, "holdfast_log_failures_total", st.Log.Failures)
	failing := uint64(0)
	if st.Log.Err != nil {
		failing = 1
	}
	metrics.WriteGaugeUint64(w, "holdfast_log_failing", failing)
}

// census keeps a count of sessions for a hundred times as long as the counting
// took: routers ask many times a second, and nobody else gets a session meanwhile.
type census struct {
	mu    sync.Mutex
	last  session.Status
	until time.Time
}

func (c *census) take(count func() session.Status, now func() time.Time) session.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	if start := now(); !start.Before(c.until) {
		c.last = count()
		end := now()
		c.until = end.Add(100 * end.Sub(start))
	}
	return c.last
}

// writeAliases repeats what routers of the Gateway API's inference extension
// read, by the names that they look for unless told otherwise: vLLM's.
func writeAliases(w io.Writer, info engine.Info, st engine.Stats) {
	labels := fmt.Sprintf(`{model_name=%q,engine="0"}`, info.ID)
	metrics.WriteGaugeUint64(w, "vllm:num_requests_waiting"+labels, uint64(st.Waiting))
	metrics.WriteGaugeUint64(w, "vllm:num_requests_running"+labels, uint64(st.Running))
	usage := 0.0
	if st.BlocksTotal > 0 {
		usage = float64(st.BlocksUsed) / float64(st.BlocksTotal)
	}
	metrics.WriteGaugeFloat64(w, "vllm:kv_cache_usage_perc"+labels, usage)
	config := fmt.Sprintf(`vllm:cache_config_info{block_size="%d",num_gpu_blocks="%d",engine="0"}`, info.BlockTokens, st.BlocksTotal)
	metrics.WriteGaugeUint64(w, config, 1)
}
