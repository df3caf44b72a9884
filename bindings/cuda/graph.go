package cuda

import (
	"fmt"
	"unsafe"

	"github.com/holdfast-run/holdfast/bindings/dynload"
)

// CaptureMode says which calls of other threads a capture forbids.
type CaptureMode int32

// A CUstreamCaptureMode.
const (
	CaptureGlobal      CaptureMode = 0
	CaptureThreadLocal CaptureMode = 1
	CaptureRelaxed     CaptureMode = 2 // none
)

// CaptureStatus is what StreamIsCapturing returns.
type CaptureStatus int32

// A CUstreamCaptureStatus.
const (
	CaptureNone        CaptureStatus = 0
	CaptureActive      CaptureStatus = 1
	CaptureInvalidated CaptureStatus = 2
)

// NodeType is a CUgraphNodeType.
type NodeType int32

// The kinds of nodes in use.
const (
	NodeKernel      NodeType = 0
	NodeMemcpy      NodeType = 1
	NodeMemset      NodeType = 2
	NodeEmpty       NodeType = 5
	NodeEventWait   NodeType = 6
	NodeEventRecord NodeType = 7
)

// UpdateResult says why GraphExecUpdate could not be done.
type UpdateResult int32

// A CUgraphExecUpdateResult.
const (
	UpdateSuccess         UpdateResult = 0
	UpdateError           UpdateResult = 1
	UpdateTopologyChanged UpdateResult = 2
)

// StreamBeginCapture records the stream's work from here on, and that of streams
// that wait for it by events, in place of doing it.
func (d *Driver) StreamBeginCapture(s Stream, mode CaptureMode) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnStreamBeginCapture, uintptr(s), uintptr(mode))
}

// StreamEndCapture returns what was recorded; it is called on the thread that
// began, unless the mode is CaptureRelaxed.
func (d *Driver) StreamEndCapture(s Stream) (Graph, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnStreamEndCapture, uintptr(s), c.Out(0))
	return Graph(c.Word(0)), err
}

// StreamIsCapturing returns the state of the stream's capture.
func (d *Driver) StreamIsCapturing(s Stream) (CaptureStatus, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnStreamIsCapturing, uintptr(s), c.Out(0))
	return CaptureStatus(c.Int32(0)), err
}

// ThreadExchangeStreamCaptureMode sets what this thread may do while any other
// captures, and returns what it was.
func (d *Driver) ThreadExchangeStreamCaptureMode(mode CaptureMode) (CaptureMode, error) {
	c := dynload.NewCall()
	defer c.Free()
	c.SetWord(0, uint64(mode))
	err := d.do(c, fnThreadExchangeStreamCaptureMode, c.At(0))
	return CaptureMode(c.Int32(0)), err
}

// GraphInstantiate makes a graph that can be launched; the graph may be
// destroyed afterwards.
func (d *Driver) GraphInstantiate(g Graph) (GraphExec, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnGraphInstantiate, c.Out(0), uintptr(g), 0)
	return GraphExec(c.Word(0)), err
}

// GraphUpload does ahead what a first launch would have to.
func (d *Driver) GraphUpload(g GraphExec, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnGraphUpload, uintptr(g), uintptr(s))
}

// GraphLaunch runs a graph in a stream's order.
func (d *Driver) GraphLaunch(g GraphExec, s Stream) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnGraphLaunch, uintptr(g), uintptr(s))
}

// GraphExecUpdate changes the parameters of an instantiated graph to those of
// another graph of the same shape. If it cannot, the result says why, beside the error.
func (d *Driver) GraphExecUpdate(exec GraphExec, g Graph) (UpdateResult, error) {
	c := dynload.NewCall()
	defer c.Free()
	info := dynload.View[updateInfo](c, 0)
	err := d.do(c, fnGraphExecUpdate, uintptr(exec), uintptr(g), c.At(0))
	return UpdateResult(info.Result), err
}

// updateInfo is CUgraphExecUpdateResultInfo.
type updateInfo struct {
	Result        int32
	ErrorNode     GraphNode
	ErrorFromNode GraphNode
}

// GraphExecDestroy frees an instantiated graph once its launches are done.
func (d *Driver) GraphExecDestroy(g GraphExec) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnGraphExecDestroy, uintptr(g))
}

// GraphDestroy frees a graph.
func (d *Driver) GraphDestroy(g Graph) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnGraphDestroy, uintptr(g))
}

// maxNodes bounds what GraphGetNodes believes.
const maxNodes = 1 << 20

// GraphGetNodes returns the graph's nodes.
func (d *Driver) GraphGetNodes(g Graph) ([]GraphNode, error) {
	c := dynload.NewCall()
	defer c.Free()
	if err := d.do(c, fnGraphGetNodes, uintptr(g), 0, c.Out(0)); err != nil {
		return nil, err
	}
	n := c.Word(0)
	if n > maxNodes {
		return nil, fmt.Errorf("cuda: a graph of %d nodes", n)
	}
	if n == 0 {
		return nil, nil
	}
	nodes := make([]GraphNode, n)
	err := d.do(c, fnGraphGetNodes, uintptr(g), c.Pointer(unsafe.Pointer(&nodes[0])), c.At(0))
	return nodes[:min(c.Word(0), n)], err
}

// GraphNodeGetType returns what a node does.
func (d *Driver) GraphNodeGetType(n GraphNode) (NodeType, error) {
	c := dynload.NewCall()
	defer c.Free()
	err := d.do(c, fnGraphNodeGetType, uintptr(n), c.Out(0))
	return NodeType(c.Int32(0)), err
}

// GraphDebugDotPrint writes the graph to a file for Graphviz.
func (d *Driver) GraphDebugDotPrint(g Graph, path string) error {
	c := dynload.NewCall()
	defer c.Free()
	return d.do(c, fnGraphDebugDotPrint, uintptr(g), c.String(path), dotVerbose)
}

// dotVerbose is a CUgraphDebugDot_flags: all that there is to say.
const dotVerbose = 1
