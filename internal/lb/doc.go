// Package lb is the data plane of the load balancers. It runs as two processes, both apart from the control plane:
//
//   - the parent (RunParent) is privileged and reads no byte that a client or target sent. It makes listening sockets
//     in the host's namespace and inside VPCs, unconnected sockets on ENI addresses, and hands them to
//   - the worker (RunWorker), which has a user of its own and no privileges, and speaks HTTP with the world.
//
// The control plane saves a snapshot (lbconfig.Save) and tells the worker (lbconfig.Client.Put). Both processes live
// without it: they serve the saved one.
//
// What dies, and what follows:
//
//	worker        the parent starts the next. The parent holds the listening sockets too, so that no connection is
//	              refused meanwhile; the next knows from a file who was healthy. One that ends by itself or retires leaves
//	              what nobody has read of metrics and logs (remains.go); killed, it takes a minute of them along
//	parent        the worker goes on with the ports it has, and with a stock of sockets to reach targets from. The next
//	              parent finds it, and takes over what it holds
//	both          the next parent binds anew, from the saved snapshot
//	control plane nothing
//
// The way of a request: an engine reads it, decide.go finds listener, rule and action and claims a target (target.go), the
// engine sends it (upstream.go) and passes the answer on. There are two engines: net/http's server and transport
// (proxy.go) behind a screen (screen.go), and one of our own for ordinary requests of HTTP/1.1 (fast.go). A snapshot is compiled into an immutable table (table.go) and put
// in force by swapping one pointer (apply.go); groups and targets live on across snapshots, with their turns, health
// and open requests.
package lb
