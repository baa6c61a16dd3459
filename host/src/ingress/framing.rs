//! Where one request ends and the next begins, said in one way only.
//!
//! Whoever stands before the hub may divide bytes into requests otherwise than hyper does, and then a stranger's bytes
//! become the beginning of somebody else's request. Hyper follows RFC 9112 where that is lenient: a head with both
//! `Transfer-Encoding` and `Content-Length` is read as chunked, equal lengths are merged, a bare LF ends a line. Here
//! the bytes are followed on their way to hyper, and the first such ambiguity is replaced by a NUL, which hyper answers
//! with 400 and a close. What is not ambiguous is not judged: that stays with hyper.

/// A byte that may stand nowhere in a head.
const POISON: u8 = 0;

/// How much of a line that arrives in pieces is kept: more than the two fields need that matter.
const KEPT: usize = 64;

/// The first line of every HTTP/2 connection. What follows it has frames, which have no such doubts.
const HTTP2: &[u8] = b"PRI * HTTP/2.0";

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    line: Line,
    head: Head,
}

#[derive(Debug, Default)]
enum State {
    /// Before a request line, or within it.
    #[default]
    Request,
    /// Within the fields of a head.
    Fields,
    /// So many bytes of a body are to come.
    Body(u64),
    Chunked(Chunk),
    /// Nothing more is looked at: HTTP/2, or hyper has been made to refuse or refuses by itself.
    Over,
}

/// Within a chunked body, as hyper reads it.
#[derive(Debug)]
enum Chunk {
    /// The digits of a size.
    Size(u64),
    /// What may follow them.
    Extension(u64),
    /// The LF of that line.
    SizeEnd(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The first byte of a trailer's line.
    Trailer,
    WithinTrailer,
    TrailerLf,
    /// The last LF.
    End,
}

/// The beginning of a line that has not ended yet.
#[derive(Debug)]
struct Line {
    kept: [u8; KEPT],
    /// Of the whole line, also of what was not kept.
    length: usize,
    last: u8,
}

impl Default for Line {
    fn default() -> Self {
        Self { kept: [0; KEPT], length: 0, last: 0 }
    }
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        if let Some(room) = self.kept.get_mut(self.length..) {
            let taken = room.len().min(bytes.len());
            room[..taken].copy_from_slice(&bytes[..taken]);
        }
        self.length = self.length.saturating_add(bytes.len());
        self.last = *last;
    }
}

#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    chunked: bool,
}

/// Two readers could divide the bytes in two ways.
struct Ambiguous;

impl Framing {
    /// Follows bytes that hyper is about to read. True if they had to be spoilt, so that hyper refuses them.
    pub(super) fn follow(&mut self, bytes: &mut [u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match &mut self.state {
                State::Over => return false,
                State::Request | State::Fields => {
                    let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n').map(|end| at + end) else {
                        self.line.extend(&bytes[at..]);
                        return false;
                    };
                    if self.line_ended(&bytes[at..end]).is_err() {
                        bytes[end] = POISON;
                        self.state = State::Over;
                        return true;
                    }
                    at = end + 1;
                }
                State::Body(left) => {
                    at += skip(left, bytes.len() - at);
                    if *left == 0 {
                        self.state = State::Request;
                    }
                }
                State::Chunked(Chunk::Data(left)) if *left > 0 => at += skip(left, bytes.len() - at),
                State::Chunked(chunk) => {
                    let consumed = !matches!(chunk, Chunk::Data(_));
                    self.state = chunk.after(bytes[at]);
                    at += usize::from(consumed);
                }
            }
        }
        false
    }

    /// Judges a line whose LF was found; `rest` is what of it had not been kept before.
    fn line_ended(&mut self, rest: &[u8]) -> Result<(), Ambiguous> {
        if self.line.length == 0 {
            let line = rest.strip_suffix(b"\r").ok_or(Ambiguous)?;
            return self.line(&line[..line.len().min(KEPT)], line.len() > KEPT);
        }
        let mut whole = std::mem::take(&mut self.line);
        whole.extend(rest);
        if whole.last != b'\r' {
            return Err(Ambiguous);
        }
        let length = whole.length - 1;
        self.line(&whole.kept[..length.min(KEPT)], length > KEPT)
    }

    /// Judges a line without its end, of which no more than the beginning may be there.
    fn line(&mut self, line: &[u8], cut: bool) -> Result<(), Ambiguous> {
        match self.state {
            // Empty lines before a request are skipped, as hyper does.
            State::Request if line.is_empty() => {}
            State::Request if line == HTTP2 => self.state = State::Over,
            State::Request => {
                self.head = Head::default();
                self.state = State::Fields;
            }
            _ if line.is_empty() => {
                self.state = match self.head {
                    Head { chunked: true, .. } => State::Chunked(Chunk::Size(0)),
                    Head { length: Some(length), .. } if length > 0 => State::Body(length),
                    Head { .. } => State::Request,
                }
            }
            _ => self.head.field(line, cut)?,
        }
        Ok(())
    }
}

impl Head {
    fn field(&mut self, line: &[u8], cut: bool) -> Result<(), Ambiguous> {
        // Only two names matter, and both begin with one of these.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return Ok(());
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Ok(()) };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let length = name.eq_ignore_ascii_case(b"content-length");
        if !length && !name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Ok(());
        }
        if cut || self.chunked || self.length.is_some() {
            return Err(Ambiguous);
        }
        if length {
            let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            self.length = Some(digits.and_then(|digits| digits.parse().ok()).ok_or(Ambiguous)?);
        } else {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
            if !self.chunked {
                return Err(Ambiguous);
            }
        }
        Ok(())
    }
}

impl Chunk {
    /// What comes after a byte. Where hyper refuses the byte there is nothing more to follow.
    fn after(&self, byte: u8) -> State {
        let next = match (self, byte) {
            (Self::Size(size), b'\r') => Self::SizeEnd(*size),
            (Self::Size(size), b';' | b' ' | b'\t') => Self::Extension(*size),
            (Self::Size(size), digit) => {
                let more = char::from(digit).to_digit(16).map(u64::from);
                match more.and_then(|more| size.checked_mul(16)?.checked_add(more)) {
                    Some(size) => Self::Size(size),
                    None => return State::Over,
                }
            }
            (Self::Extension(size), b'\r') => Self::SizeEnd(*size),
            (Self::Extension(_), b'\n') => return State::Over,
            (Self::Extension(size), _) => Self::Extension(*size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer,
            (Self::SizeEnd(size), b'\n') => Self::Data(*size),
            (Self::Data(_), _) => Self::DataCr,
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size(0),
            (Self::Trailer, b'\r') => Self::End,
            (Self::Trailer, _) => Self::WithinTrailer,
            (Self::WithinTrailer, b'\r') => Self::TrailerLf,
            (Self::WithinTrailer, _) => Self::WithinTrailer,
            (Self::TrailerLf, b'\n') => Self::Trailer,
            (Self::End, b'\n') => return State::Request,
            (Self::SizeEnd(_) | Self::DataCr | Self::DataLf | Self::TrailerLf | Self::End, _) => return State::Over,
        };
        State::Chunked(next)
    }
}

/// Takes what it can of `left`, at most `there`.
fn skip(left: &mut u64, there: usize) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
    *left -= taken as u64;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hyper gets when the bytes arrive in pieces of this size, and whether they were spoilt.
    fn followed(bytes: &[u8], piece: usize) -> (Vec<u8>, bool) {
        let (mut framing, mut given, mut spoilt) = (Framing::default(), bytes.to_vec(), false);
        for piece in given.chunks_mut(piece) {
            spoilt |= framing.follow(piece);
        }
        (given, spoilt)
    }

    fn is_refused(bytes: &[u8]) -> bool {
        let whole = followed(bytes, bytes.len().max(1));
        for piece in [1, 2, 7, 63, 64, 65] {
            assert_eq!(followed(bytes, piece), whole, "pieces of {piece}: {}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(whole.1, whole.0 != bytes, "it is spoilt exactly when it says so");
        whole.1
    }

    fn head(fields: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes()
    }

    #[test]
    fn a_head_with_two_framings_is_refused() {
        for fields in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "transfer-encoding:chunked\r\nX: y\r\nCONTENT-LENGTH:4\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Content-Length: 4\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding:\r\n",
            "Content-Length: +4\r\n",
            "Content-Length: 4, 4\r\n",
            "Content-Length: 0x4\r\n",
            "Content-Length:\r\n",
            "Content-Length: 99999999999999999999\r\n",
            &format!("Content-Length: {}4\r\n", " ".repeat(100)),
        ] {
            assert!(is_refused(&head(fields)), "{fields}");
        }
    }

    #[test]
    fn a_line_that_ends_with_a_bare_line_feed_is_refused() {
        for bytes in [
            b"GET / HTTP/1.1\nHost: x\r\n\r\n".as_slice(),
            b"GET / HTTP/1.1\r\nHost: x\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\n\n",
            b"\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ] {
            assert!(is_refused(bytes), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_can_be_read_in_one_way_passes_untouched() {
        let long = format!("X-Long: {}\r\nCookie: transfer-encoding: chunked\r\n", "y".repeat(5000));
        for requests in [
            head("Content-Length: 4\r\n"),
            [&head("Content-Length: 4\r\n")[..], b"a\nb\n", &head("")].concat(),
            [&head("Transfer-Encoding: Chunked\r\n")[..], b"4;x=y\r\na\nb\n\r\n1\r\nz\r\n0\r\n\r\n", &head("")]
                .concat(),
            [&head("Transfer-Encoding: chunked\r\n")[..], b"0\r\nTrailer: \n\r\n\r\n", &head("")].concat(),
            [b"\r\n\r\n".as_slice(), &head(&long)].concat(),
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), b"\n\n\0\0\n"].concat(),
        ] {
            assert!(!is_refused(&requests), "{}", String::from_utf8_lossy(&requests));
        }
    }

    #[test]
    fn the_second_request_of_a_connection_is_followed_as_the_first() {
        let bad = head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n");
        for first in [
            head("Content-Length: 0\r\n"),
            [&head("Content-Length: 4\r\n")[..], b"\r\n\r\n"].concat(),
            [&head("Transfer-Encoding: chunked\r\n")[..], b"A\r\n0123456789\r\n0\r\nT: u\r\n\r\n"].concat(),
        ] {
            assert!(is_refused(&[&first[..], &bad].concat()), "{}", String::from_utf8_lossy(&first));
        }
    }

    #[test]
    fn fuzz_request_framing() {
        let seeds: [&[u8]; 8] = [
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcdGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nabcd\r\n0\r\nT: u\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n",
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\nX: \0\xff\r\n folded\r\n\r\n",
        ];
        let words =
            ["\r\n", "Content-Length: ", "Transfer-Encoding: ", "chunked", "0\r\n\r\n", "4\r\n", "GET / HTTP/1.1\r\n"];
        switchyard_fuzz::fuzz(&seeds, &words, |bytes| {
            let whole = followed(bytes, bytes.len().max(1));
            let pieces = [1, 5, 64].map(|piece| followed(bytes, piece));
            assert!(pieces.iter().all(|piece| *piece == whole), "it matters in which pieces the bytes arrive");
            let changed = bytes.iter().zip(&whole.0).filter(|(before, after)| before != after).count();
            assert_eq!(changed, usize::from(whole.1), "one byte is spoilt, or none");
            (whole.1, bytes.iter().filter(|byte| **byte == b'\n').count().min(20))
        });
    }
}
