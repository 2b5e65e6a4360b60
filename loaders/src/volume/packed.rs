//! Streams that may be packed with gzip or zlib, and how much can come out of them.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use flate2::read::ZlibDecoder;

use super::Problem;
use super::files::Stream;

/// Deflate cannot shrink data more than this many times; a header that promises more is lying.
const DEFLATE_RATIO_MAX: u64 = 1032;

/// First bytes of a gzip stream.
pub(crate) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Bytes that may follow the voxels in a packed stream; they are read to check its checksum.
const TRAILING_BYTES_MAX: u64 = 64 << 20;

/// A stream, unpacked, and the most bytes that it can deliver.
pub(crate) struct Source<'a> {
    pub(crate) stream: Box<dyn Read + 'a>,
    pub(crate) bytes_max: u64,
    pub(crate) packed: bool,
}

impl<'a> Source<'a> {
    /// A stream as it is.
    pub(crate) fn plain(stream: Stream<'a>) -> Self {
        Self { stream: stream.bytes, bytes_max: stream.len, packed: false }
    }

    /// Unpacks a gzip stream of one member or more, or one of zlib where it does not begin like gzip.
    pub(crate) fn packed(stream: Stream<'a>) -> Result<Self, Problem> {
        let bytes_max = stream.len.saturating_mul(DEFLATE_RATIO_MAX);
        let mut bytes = BufReader::new(stream.bytes);
        let stream: Box<dyn Read + 'a> = if bytes.fill_buf()?.starts_with(GZIP_MAGIC) {
            Box::new(BufReader::new(Members { member: Some(GzDecoder::new(bytes)) }))
        } else {
            Box::new(BufReader::new(ZlibDecoder::new(bytes)))
        };
        Ok(Self { stream, bytes_max, packed: true })
    }

    /// Unpacks a stream that says it is gzip.
    pub(crate) fn by_content(stream: Stream<'a>) -> Result<Self, Problem> {
        let mut bytes = BufReader::new(stream.bytes);
        let is_gzip = bytes.fill_buf()?.starts_with(GZIP_MAGIC);
        let stream = Stream { bytes: Box::new(bytes), ..stream };
        if is_gzip { Self::packed(stream) } else { Ok(Self::plain(stream)) }
    }

    /// Skips `count` bytes.
    pub(crate) fn skip(&mut self, count: u64) -> Result<(), Problem> {
        io::copy(&mut self.stream.by_ref().take(count), &mut io::sink())?;
        Ok(())
    }

    /// Reads a packed stream to its end, where its checksum is: damage shows nowhere else. `expected` bytes are left of
    /// what the header says.
    pub(crate) fn check_to_end(mut self, expected: u64) -> Result<(), Problem> {
        if !self.packed {
            return Ok(());
        }
        let allowed = expected + TRAILING_BYTES_MAX;
        let rest = io::copy(&mut self.stream.by_ref().take(allowed + 1), &mut io::sink())?;
        if rest < expected {
            return Err(Problem::cut_short("holds fewer volumes than its header says"));
        }
        if rest > allowed {
            let finding = format!("holds more than {TRAILING_BYTES_MAX} bytes after its voxels");
            return Err(Problem::new(finding, "write the file again without them"));
        }
        Ok(())
    }
}

/// The members of a gzip file one after the other. Zeros may follow the last one: tapes and some disks leave them.
struct Members<R> {
    /// `None` behind the last one.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            let rest = self.member.take().map(GzDecoder::into_inner);
            self.member = rest.map(next_member).transpose()?.flatten();
        }
        Ok(0)
    }
}

/// The member that begins where the last one ended.
fn next_member<R: BufRead>(mut rest: R) -> io::Result<Option<GzDecoder<R>>> {
    let mut zeros = 0;
    loop {
        let ahead = rest.fill_buf()?;
        if ahead.is_empty() {
            return Ok(None);
        }
        match ahead.iter().position(|&byte| byte != 0) {
            None => {
                zeros += ahead.len();
                let count = ahead.len();
                rest.consume(count);
            }
            Some(0) if zeros == 0 && ahead[0] == GZIP_MAGIC[0] => return Ok(Some(GzDecoder::new(rest))),
            Some(_) => {
                let what = "bytes that are no gzip follow the end of the gzip stream";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(content).unwrap();
        packed.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
        let stream = Stream { name: String::new(), bytes: Box::new(bytes), len: bytes.len() as u64 };
        let mut out = Vec::new();
        Source::by_content(stream)?.stream.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn members_follow_each_other_and_zeros_the_last() {
        let two = [gzip(b"ab"), gzip(b"c")].concat();
        assert_eq!(unpack(&two).unwrap(), b"abc");
        assert_eq!(unpack(&[&two[..], &[0; 20_000]].concat()).unwrap(), b"abc");
        for after in [&b"x"[..], b"\0\0x", b"\0\x1f\x8b"] {
            let found = unpack(&[&two[..], after].concat()).unwrap_err();
            assert!(found.finding.contains("follow the end of the gzip stream"), "{found:?}");
        }
        assert!(unpack(&[&two[..], b"\x1f"].concat()).is_err(), "a member that is cut");
        assert!(unpack(&two[..two.len() - 1]).is_err(), "a checksum that is cut");
    }
}
