//! Network I/O: AF_PACKET, wires, the host stack, async sockets.

#![deny(unsafe_op_in_unsafe_fn)]
