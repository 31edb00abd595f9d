//! A reader of an event stream that costs little: it looks for marks in what comes, and reads nothing else of it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// What a stream begins with.
const PRELUDE: &[u8] = b"retry: 1000\n\n";
/// Stands in a title, before the write's number.
const MARK: &[u8] = b"write-";
const DIGITS: usize = 8;
/// The bytes that may be the beginning of a mark and its number.
const CARRIED: usize = MARK.len() + DIGITS - 1;

/// The title that the row of write `n` has.
pub fn marked(n: usize) -> String {
    format!("write-{n:08}")
}

/// What readers of one thread read into, in turn.
#[derive(Clone)]
pub struct Buffer(Rc<RefCell<Box<[u8]>>>);

impl Default for Buffer {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; 256 << 10].into())))
    }
}

/// An open event stream.
pub struct Reader {
    socket: TcpStream,
    buffer: Buffer,
    /// What of the last read may be the beginning of a mark.
    carried: Vec<u8>,
    /// The bytes that came.
    pub bytes: u64,
}

impl Reader {
    /// Opens a stream, and returns when it has begun.
    pub async fn open(server: SocketAddr, path: &str, buffer: &Buffer) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\naccept: text/event-stream\r\n\r\n");
        socket.write_all(head.as_bytes()).await?;
        let mut begun = Vec::new();
        loop {
            let before = begun.len();
            if socket.read_buf(&mut begun).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !begun.starts_with(b"HTTP/1.1 200 ") {
                return Err(io::Error::other(String::from_utf8_lossy(&begun).into_owned()));
            }
            let from = before.saturating_sub(PRELUDE.len());
            if let Some(at) = memmem::find(&begun[from..], PRELUDE) {
                // What came with it is looked at together with what comes next.
                let carried = begun.split_off(from + at + PRELUDE.len());
                return Ok(Self { socket, buffer: buffer.clone(), bytes: carried.len() as u64, carried });
            }
        }
    }

    /// Waits for more of the stream, and tells `found` of each number in it.
    pub async fn next(&mut self, mut found: impl FnMut(usize)) -> io::Result<()> {
        poll_fn(|context| {
            // Only while it is read and looked at, so that all can share it.
            let mut buffer = self.buffer.0.borrow_mut();
            let held = self.carried.len();
            buffer[..held].copy_from_slice(&self.carried);
            let mut into = ReadBuf::new(&mut buffer[held..]);
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut into))?;
            let read = into.filled().len();
            if read == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.bytes += read as u64;
            let rest = numbers(&buffer[..held + read], &mut found);
            self.carried.clear();
            self.carried.extend_from_slice(rest);
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// Tells `found` of each number that is marked, and returns what may be the beginning of another.
fn numbers(bytes: &[u8], mut found: impl FnMut(usize)) -> &[u8] {
    let mut from = 0;
    while let Some(at) = memmem::find(&bytes[from..], MARK) {
        let digits = from + at + MARK.len();
        let Some(number) = bytes.get(digits..digits + DIGITS) else { break };
        found(number.iter().fold(0, |n, digit| 10 * n + usize::from(digit - b'0')));
        from = digits + DIGITS;
    }
    &bytes[from.max(bytes.len().saturating_sub(CARRIED))..]
}
