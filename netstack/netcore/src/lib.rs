//! Network cores: DHCP, TFTP and frames, without I/O.

#![forbid(unsafe_code)]
