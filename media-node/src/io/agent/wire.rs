//! A TCP stream that a runtime awaits while it is opened, and an epoll set tells about later.

use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once: a dozen messages of 20 ms.
const READ_BYTES: usize = 4096;
/// How often in a row: an agent that floods us gets its turn with all others.
const READS: u32 = 16;

pub(super) enum Wire {
    Awaited(TcpStream),
    Polled(Polled),
    /// Between the two.
    Nowhere,
}

pub(super) struct Polled {
    stream: std::net::TcpStream,
    /// How many reads are left until epoll tells of more.
    reads: u32,
}

impl Wire {
    /// From here on whoever holds it asks epoll.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Nowhere) {
            // What came together with the last read of the runtime's is still in the kernel.
            Self::Awaited(stream) => {
                Self::Polled(Polled { stream: stream.into_std()?, reads: READS })
            }
            same => same,
        };
        Ok(())
    }

    pub(super) fn handle_readable(&mut self) {
        if let Self::Polled(polled) = self {
            polled.reads = READS;
        }
    }
}

impl Polled {
    /// A read that fills less than it may has taken all there was: asking again would only cost a
    /// system call to be told so.
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.reads == 0 {
            return Poll::Pending;
        }
        // Straight into `buffer` would mean to clear all of it first.
        let mut piece = [MaybeUninit::uninit(); READ_BYTES];
        let room = buffer.remaining().min(READ_BYTES);
        let received = rustix::net::recv(&self.stream, &mut piece[..room], RecvFlags::empty());
        let ((read, _), _) = ready!(unless_blocked(received.map_err(io::Error::from)))?;
        buffer.put_slice(read);
        let took_all = !read.is_empty() && read.len() < room;
        self.reads = if took_all { 0 } else { self.reads - 1 };
        Poll::Ready(Ok(()))
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Poll::Pending,
        result => Poll::Ready(result),
    }
}

fn detached() -> Poll<io::Error> {
    Poll::Ready(io::ErrorKind::NotConnected.into())
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Awaited(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Polled(polled) => polled.read(buffer),
            Self::Nowhere => detached().map(Err),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Awaited(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Polled(polled) => unless_blocked((&polled.stream).write(bytes)),
            Self::Nowhere => detached().map(Err),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Awaited(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Polled(polled) => unless_blocked((&polled.stream).write_vectored(slices)),
            Self::Nowhere => detached().map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // TCP keeps nothing back
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Awaited(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Polled(polled) => Poll::Ready(polled.stream.shutdown(std::net::Shutdown::Write)),
            Self::Nowhere => detached().map(Err),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Awaited(stream) => stream.as_fd(),
            Self::Polled(polled) => polled.stream.as_fd(),
            Self::Nowhere => unreachable!("detach() leaves it only when it fails"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::task::Waker;

    use super::*;

    /// Our end of a connection, and the other.
    fn polled() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let stream = listener.accept().unwrap().0;
        stream.set_nonblocking(true).unwrap();
        (Wire::Polled(Polled { stream, reads: READS }), theirs)
    }

    /// How much is read until there is no more to be had.
    fn read(wire: &mut Wire) -> usize {
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = 0;
        loop {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *wire).poll_read(&mut cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return all,
                Poll::Ready(Ok(())) => all += buffer.filled().len(),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => return all,
            }
        }
    }

    #[test]
    fn a_short_read_ends_it_until_epoll_tells_of_more() {
        let (mut wire, mut theirs) = polled();
        theirs.write_all(&[1; 100]).unwrap();
        assert_eq!(read(&mut wire), 100);
        theirs.write_all(&[1; 7]).unwrap();
        assert_eq!(read(&mut wire), 0);
        wire.handle_readable();
        assert_eq!(read(&mut wire), 7);
    }

    #[test]
    fn who_floods_us_is_read_in_turns() {
        let (mut wire, mut theirs) = polled();
        theirs.set_nonblocking(true).unwrap();
        let flood = vec![1; 1 << 20];
        let sent = theirs.write(&flood).unwrap();
        assert!(sent > READ_BYTES * READS as usize, "the kernel took {sent} bytes only");
        assert_eq!(read(&mut wire), READ_BYTES * READS as usize);
        assert_eq!(read(&mut wire), 0);
        wire.handle_readable();
        assert!(read(&mut wire) > 0);
    }

    #[test]
    fn the_end_of_the_connection_is_told() {
        let (mut wire, theirs) = polled();
        drop(theirs);
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = [0; 8];
        let mut buffer = ReadBuf::new(&mut bytes);
        let ended = Pin::new(&mut wire).poll_read(&mut cx, &mut buffer);
        assert!(matches!(ended, Poll::Ready(Ok(()))) && buffer.filled().is_empty());
    }
}
