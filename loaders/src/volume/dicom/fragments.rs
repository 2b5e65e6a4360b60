//! Which fragments of encapsulated pixels belong to which frame.

use std::borrow::Cow;
use std::ops::Range;

use super::super::Problem;

/// Encapsulated pixels, shared out to their frames.
#[derive(Debug)]
pub(crate) struct Fragments<'a> {
    fragments: Vec<&'a [u8]>,
    /// The fragments of each frame.
    frames: Vec<Range<usize>>,
}

impl<'a> Fragments<'a> {
    /// Shares out `fragments`, there are as many as frames or more: one to each frame, all to the only frame, as the
    /// offset table `table` says, or, without one, a frame from each fragment that begins with `mark`.
    pub(crate) fn share_out(
        table: &[u8],
        fragments: Vec<&'a [u8]>,
        frames: usize,
        mark: &[u8],
    ) -> Result<Self, Problem> {
        let frames = if frames == fragments.len() {
            (0..frames).map(|frame| frame..frame + 1).collect()
        } else if frames == 1 {
            std::iter::once(0..fragments.len()).collect()
        } else {
            match by_marks(mark, &fragments, frames).filter(|_| table.is_empty()) {
                Some(frames) => frames,
                None => by_table(table, &fragments, frames)?,
            }
        };
        Ok(Self { fragments, frames })
    }

    /// The packed bytes of the frame at `index`.
    pub(crate) fn frame(&self, index: usize) -> Cow<'a, [u8]> {
        match &self.fragments[self.frames[index].clone()] {
            [only] => Cow::Borrowed(only),
            several => Cow::Owned(several.concat()),
        }
    }
}

/// The fragments of each frame by the bytes that frames begin with; `None` where these are not as many as frames.
fn by_marks(mark: &[u8], fragments: &[&[u8]], frames: usize) -> Option<Vec<Range<usize>>> {
    let begins = |at: &usize| !mark.is_empty() && fragments[*at].starts_with(mark);
    let mut starts: Vec<usize> = (0..fragments.len()).filter(begins).collect();
    if starts.len() != frames || starts.first() != Some(&0) {
        return None;
    }
    starts.push(fragments.len());
    Some(starts.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

/// The fragments of each frame by the offset table, in one pass over both.
fn by_table(table: &[u8], fragments: &[&[u8]], frames: usize) -> Result<Vec<Range<usize>>, Problem> {
    let offsets = table.as_chunks::<4>().0;
    if offsets.len() != frames {
        let finding = format!("has {} fragments for {frames} frames and no offset table", fragments.len());
        return Err(Problem::new(finding, "convert it to explicit VR little endian, uncompressed"));
    }
    let offsets: Vec<u64> = offsets.iter().map(|offset| u64::from(u32::from_le_bytes(*offset))).collect();
    if let Some(frame) = offsets.windows(2).position(|pair| pair[1] <= pair[0]) {
        let finding = format!("has an offset table in which frame {} does not lie behind frame {frame}", frame + 1);
        return Err(Problem::new(finding, "export the file again; this one is damaged"));
    }
    let mut starts = Vec::with_capacity(frames + 1);
    // Where the next fragment lies: each stands behind a tag and a length of 4 bytes.
    let mut place = 0;
    for (index, fragment) in fragments.iter().enumerate() {
        while starts.len() < frames && offsets[starts.len()] <= place {
            starts.push(index);
        }
        place += fragment.len() as u64 + 8;
    }
    starts.resize(frames + 1, fragments.len());
    Ok(starts.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAGMENTS: [&[u8]; 3] = [b"abcd", b"ef", b"ghijkl"];

    fn share_out(offsets: &[u32], frames: usize) -> Result<Vec<Vec<u8>>, Problem> {
        let table: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let shared = Fragments::share_out(&table, FRAGMENTS.to_vec(), frames, b"")?;
        Ok((0..frames).map(|frame| shared.frame(frame).into_owned()).collect())
    }

    #[test]
    fn the_offset_table_shares_fragments_out_to_frames() {
        // Frame 1 starts at the third fragment: behind 4 and 2 bytes and two headers of 8.
        assert_eq!(share_out(&[0, 22], 2).unwrap(), [b"abcdef".to_vec(), b"ghijkl".to_vec()]);
        assert_eq!(share_out(&[], 1).unwrap(), [b"abcdefghijkl"]);
        assert_eq!(share_out(&[], 3).unwrap(), FRAGMENTS);
        assert!(share_out(&[], 2).unwrap_err().finding.contains("no offset table"));
    }

    #[test]
    fn without_a_table_frames_begin_at_their_marks() {
        let shared = |mark: &[u8], frames: usize| {
            let shared = Fragments::share_out(&[], vec![b"+a", b"b", b"+c", b"d", b"e"], frames, mark)?;
            Ok::<_, Problem>((0..frames).map(|frame| shared.frame(frame).into_owned()).collect::<Vec<_>>())
        };
        assert_eq!(shared(b"+", 2).unwrap(), [b"+ab".to_vec(), b"+cde".to_vec()]);
        for (mark, frames) in [(&b"+"[..], 3), (b"b", 2), (b"", 2), (b"e", 2)] {
            assert!(shared(mark, frames).unwrap_err().finding.contains("no offset table"), "{mark:?}");
        }
    }

    #[test]
    fn offsets_that_do_not_rise_are_refused_and_those_past_the_end_give_nothing() {
        for offsets in [[22, 0], [5, 5]] {
            assert!(share_out(&offsets, 2).unwrap_err().finding.contains("does not lie behind frame 0"));
        }
        assert_eq!(share_out(&[12, 4000], 2).unwrap(), [b"efghijkl".to_vec(), Vec::new()]);
    }

    /// 200 000 fragments take as long as one pass takes; a pass for each frame took minutes.
    #[test]
    fn an_offset_table_is_read_in_one_pass() {
        let frames = 200_000;
        let fragments = vec![&b"ab"[..]; frames + 1];
        let table: Vec<u8> = (0..frames as u32).flat_map(|frame| (10 * frame).to_le_bytes()).collect();
        let start = std::time::Instant::now();
        let shared = Fragments::share_out(&table, fragments, frames, b"").unwrap();
        let bytes: usize = (0..frames).map(|frame| shared.frame(frame).len()).sum();
        assert_eq!(bytes, 2 * (frames + 1));
        assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    }
}
