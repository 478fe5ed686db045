//go:build tools

// Package tools pins the gVisor release that Torpor runs tasks in.
package tools

import _ "gvisor.dev/gvisor/runsc"
