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

pub(super) enum Wire {
    Awaited(TcpStream),
    Polled(Polled),
    /// Between the two.
    Nowhere,
}

pub(super) struct Polled {
    stream: std::net::TcpStream,
    /// The last read left nothing behind, and epoll has not told of more.
    drained: bool,
}

impl Wire {
    /// From here on whoever holds it asks epoll.
    pub(super) fn detach(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Nowhere) {
            // What came together with the last read of the runtime's is still in the kernel.
            Self::Awaited(stream) => {
                Self::Polled(Polled { stream: stream.into_std()?, drained: false })
            }
            same => same,
        };
        Ok(())
    }

    pub(super) fn handle_readable(&mut self) {
        if let Self::Polled(polled) = self {
            polled.drained = false;
        }
    }
}

impl Polled {
    /// A read that fills less than it may has taken all there was: asking again would only cost a
    /// system call to be told so.
    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.drained {
            return Poll::Pending;
        }
        // Straight into `buffer` would mean to clear all of it first.
        let mut piece = [MaybeUninit::uninit(); READ_BYTES];
        let room = buffer.remaining().min(READ_BYTES);
        let received = rustix::net::recv(&self.stream, &mut piece[..room], RecvFlags::empty());
        let ((read, _), _) = ready!(unless_blocked(received.map_err(io::Error::from)))?;
        buffer.put_slice(read);
        self.drained = !read.is_empty() && read.len() < room;
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
