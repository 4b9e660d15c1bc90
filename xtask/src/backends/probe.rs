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

/// Asks over HTTP and returns the body of a 200.
pub fn http(port: u16, request: &str, headers: &str, body: &str) -> Result<String> {
    let mut socket = connect(port)?;
    let failed = |e| format!("port {port}: {e}");
    let length = body.len();
    let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n");
    socket.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let first = answer.lines().next().unwrap_or_default();
    if !first.contains(" 200 ") {
        return Err(format!("port {port} answers {first}"));
    }
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// Asks a MongoDB server for a `ping`.
pub fn mongodb(port: u16) -> Result {
    /// A message: its length, number 1, an answer to none, kind OP_MSG, no flags, one document {ping: 1, $db: "admin"}.
    const PING: &[u8] =
        b"\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";
    /// The document {ok: 1.0} in its answer, after length, four numbers of the head and a section's kind.
    const OK: &[u8] = b"\x11\0\0\0\x01ok\0\0\0\0\0\0\0\xf0\x3f\0";
    let answer = ask(port, PING, 16 + 5 + OK.len())?;
    if answer.ends_with(OK) { Ok(()) } else { Err(format!("port {port} answers a ping with {answer:?}")) }
}

/// Asks a Kafka broker which brokers there are: one that has joined its cluster names itself.
pub fn kafka(port: u16) -> Result {
    /// Length, Metadata, version 1, number 1, a client without a name, no topics.
    const QUESTION: &[u8] = b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0";
    // Length, number, count of brokers.
    let answer = ask(port, QUESTION, 12)?;
    if answer[8..] == [0, 0, 0, 1] { Ok(()) } else { Err(format!("port {port} names no broker yet")) }
}

/// Takes up HTTP/2, as gRPC clients do: the server's first frame tells its settings.
pub fn http2(port: u16) -> Result {
    let answer = ask(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 9)?;
    if answer[3] == 4 { Ok(()) } else { Err(format!("port {port} does not speak HTTP/2")) }
}

/// Takes up Bolt 5 or 4.4, as Neo4j's clients do.
pub fn bolt(port: u16) -> Result {
    let answer = ask(port, b"\x60\x60\xb0\x17\0\x04\x04\x05\0\0\x04\x04\0\0\0\0\0\0\0\0", 4)?;
    if answer == [0; 4] { Err(format!("port {port} speaks no version of Bolt that we know")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one question with these bytes.
    fn answering(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its number").port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut question = [0; 512];
            let _ = socket.read(&mut question).expect("a question");
            socket.write_all(answer).expect("answered");
        });
        port
    }

    #[test]
    fn an_open_port_is_not_enough() {
        assert!(expect(answering(b"-LOADING Redis is loading\r\n"), b"PING\r\n", b"+PONG\r\n").is_err());
        assert!(expect(answering(b"+PONG\r\n"), b"PING\r\n", b"+PONG\r\n").is_ok());
        assert!(kafka(answering(b"\0\0\0\x10\0\0\0\x01\0\0\0\0\0\0\0\0")).is_err(), "no broker");
        assert!(mongodb(answering(&[0; 64])).is_err());
        assert!(http2(answering(b"HTTP/1.1 400")).is_err());
        assert!(bolt(answering(&[0; 4])).is_err(), "no common version");
        assert!(http(answering(b"HTTP/1.1 408 Request Timeout\r\n\r\n{}"), "GET /", "", "").is_err());
        assert_eq!(http(answering(b"HTTP/1.1 200 OK\r\n\r\n{}"), "GET /", "", "").as_deref(), Ok("{}"));
    }
}
