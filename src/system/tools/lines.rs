//! The lines of a tool's output, processed while it is written, so that output of any size needs no memory.
use super::PIPE_CAPACITY;
use super::process::{pidfd, readable_until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::{Pid, pipe2};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// The lines written to a pipe.
pub(super) struct PipedLines {
    /// The end to read from, which does not block.
    pipe: File,
    /// The end to write to. It stays open here, so that the pipe is readable only if it contains data.
    writer: File,
    buffer: Vec<u8>,
    /// The beginning of a line whose end has not been read.
    line: Vec<u8>,
}

impl PipedLines {
    /// A new pipe.
    pub fn open() -> io::Result<Self> {
        let (pipe, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(PipedLines { pipe: pipe.into(), writer: writer.into(), buffer: vec![0; PIPE_CAPACITY], line: Vec::new() })
    }

    /// The end to write to.
    pub fn writer(&self) -> io::Result<File> {
        self.writer.try_clone()
    }

    /// Passes each line, without its line end, to `take` until the child ends; false if it does not end within the limit.
    pub fn read_lines(&mut self, child: Pid, limit: Duration, take: &mut dyn FnMut(&str)) -> io::Result<bool> {
        let (ended, deadline) = (pidfd(child)?, Instant::now() + limit);
        loop {
            let mut descriptors = [ended.as_fd(), self.pipe.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            // a tool that writes continuously is readable after the deadline, too
            if Instant::now() >= deadline || !readable_until(&mut descriptors, deadline)? {
                return Ok(false);
            }
            let has_ended = descriptors[0].any().unwrap_or(false);
            // the buffer has the size of the pipe: once the tool has ended, this is the rest of its output
            self.read(take)?;
            if has_ended {
                if !self.line.is_empty() {
                    take(&String::from_utf8_lossy(&self.line));
                }
                return Ok(true);
            }
        }
    }

    /// Reads the available data, at most one buffer.
    fn read(&mut self, take: &mut dyn FnMut(&str)) -> io::Result<()> {
        let length = loop {
            match self.pipe.read(&mut self.buffer) {
                Ok(length) => break length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break 0,
                Err(error) => return Err(error),
            }
        };
        for piece in self.buffer[..length].split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                take(String::from_utf8_lossy(&self.line).trim_end_matches(['\n', '\r']));
                self.line.clear();
            }
        }
        Ok(())
    }
}
