//! Asking a server something in its own language: an open port does not say that it works.
//!
//! In: a port, bytes. Out: whether the answer is the one of a server that is ready. Never: a wait without an end.
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use crate::shell::Result;

/// A server that is slower than this is not ready, or paused.
const PATIENCE: Duration = Duration::from_secs(3);

fn connect(port: u16) -> Result<TcpStream> {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let socket = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| format!("port {port}: {e}"))?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    socket.set_write_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
    Ok(socket)
}

/// Sends a question and takes the first `answer.len()` bytes, which must be `answer`.
pub fn expect(port: u16, question: &[u8], answer: &[u8]) -> Result {
    let got = ask(port, question, answer.len())?;
    if got == answer { Ok(()) } else { Err(format!("port {port} answers {:?}", String::from_utf8_lossy(&got))) }
}

/// Sends a question and takes the first `length` bytes of the answer.
pub fn ask(port: u16, question: &[u8], length: usize) -> Result<Vec<u8>> {
    let mut socket = connect(port)?;
    let failed = |e| format!("port {port}: {e}");
    socket.write_all(question).map_err(failed)?;
    let mut got = vec![0; length];
    socket.read_exact(&mut got).map_err(failed)?;
    Ok(got)
}
