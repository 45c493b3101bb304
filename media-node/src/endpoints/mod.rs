//! The agent's side of a call. Each kind of endpoint is a core without I/O: it says what to write
//! and understands what came, and whoever owns the connection moves the bytes.

pub mod websocket;
