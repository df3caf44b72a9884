// Package jinja renders chat templates: the part of Jinja 2 that they use, as
// the immutable sandbox of Python's transformers renders it (trim_blocks,
// lstrip_blocks, loop controls, tojson, raise_exception, strftime_now).
//
// Two things set it apart from an engine for web pages.
//
// Every render has a budget. A template comes out of a model file and its
// input from a client; neither is trusted. Each node evaluated, each list
// element and each 64 bytes looked at is a step, each byte made is counted
// before it is made, and recursion has a depth ([Limits]). Values are
// immutable, so there are no cycles. What exceeds the budget ends with
// [ErrBudget]; nothing keeps running.
//
// Text knows who wrote it. Each [Text] marks the bytes that came from a
// client, and every operation carries the marks along, so the result says
// which bytes are the template's own: only in these may special tokens be
// recognised.
//
// # Caveats
//
// Integers have 64 bits; overflow is an error. upper, lower and their kin map
// rune by rune (no "ß" to "SS"). Not there, and refused by Parse: extends,
// include, import, block, autoescape, recursive loops, star arguments.
package jinja
