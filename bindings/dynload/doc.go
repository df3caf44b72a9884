// Package dynload loads vendors' libraries at run time and calls their C
// functions, from a binary built without cgo. It is the only door: the packages
// beside it declare tables of functions and add types to them.
//
// A table ([]Func) becomes addresses (Symbols) in one of two ways. Library.Load
// finds the library in a list of folders and resolves every function in it. An
// emulator fills the same map with NewCallback. The binding that is made from
// the map cannot tell.
//
// # Where libraries come from
//
// A library is opened by absolute path only, from the folders that its
// Library names or, if the caller gives one, from that folder alone. The
// loader's search path (LD_LIBRARY_PATH, the cache of ldconfig) is not asked:
// what runs inside this process is not decided by whoever set the environment.
// Symbols are bound at once (RTLD_NOW) and kept out of the global name space
// (RTLD_LOCAL). A loaded library stays for the life of the process.
//
// # Calls
//
// A Call holds the arguments and results of one C call in memory that the
// garbage collector neither moves nor frees meanwhile; it is reused, so that a
// call allocates nothing:
//
//	c := dynload.NewCall()
//	defer c.Free()
//	status := c.Do(address, c.Out(0), uintptr(size)) // fn(&out, size)
//	return uint64(c.Word(0)), uint32(status)
//
// Arguments are integers and pointers; none of the libraries in use takes a
// float or a struct by value.
package dynload
