//! BER elements that are nearly right: built as a tree, so that every length fits, and then written with the lies that
//! the fuzzer has put into single ones of them. The decoder under test has no part in it.

use arbitrary::{Result, Unstructured};

/// How far a length can be off.
const MAX_OFF: u8 = 9;
/// The largest run of equal octets: with it a message may grow past a datagram.
const MAX_RUN: u16 = 34_000;

/// One element: a tag, a length, contents.
#[derive(Debug, Clone)]
pub(super) struct Element {
    tag: u8,
    content: Content,
    lie: Lie,
    /// Whether these are the octets that a signature goes into.
    signature: bool,
}

#[derive(Debug, Clone)]
enum Content {
    Octets(Vec<u8>),
    Elements(Vec<Element>),
    /// Written before, with a tag and a length of its own.
    Written(Vec<u8>),
}

/// What is wrong with an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Nothing,
    /// Another tag.
    Tag(u8),
    /// A length that is too small or too large by a little.
    Off(i8),
    /// A length beyond every datagram, in four octets.
    Huge(u32),
    /// The right length in this many octets, where fewer would do, or where they are too many.
    Wide(u8),
    /// The indefinite form.
    Indefinite,
    /// It is not there at all.
    Missing,
}

/// True once in `of` times, and never when the fuzzer's bytes have run out: what is left is honest.
pub(super) fn rarely(u: &mut Unstructured<'_>, of: u8) -> Result<bool> {
    let last = of.saturating_sub(1);
    Ok(u.int_in_range(0..=last)? == last && last > 0)
}

/// Octets: a few of any kind, or a long run of one.
pub(super) fn octets(u: &mut Unstructured<'_>, most: usize) -> Result<Vec<u8>> {
    if rarely(u, 32)? {
        return Ok(vec![u.arbitrary()?; usize::from(u.int_in_range(0..=MAX_RUN)?)]);
    }
    let length = u.int_in_range(0..=most)?.min(u.len());
    Ok(u.bytes(length)?.to_vec())
}

impl Element {
    pub(super) fn octets(tag: u8, octets: impl Into<Vec<u8>>) -> Self {
        Self { tag, content: Content::Octets(octets.into()), lie: Lie::Nothing, signature: false }
    }

    pub(super) fn of(tag: u8, elements: Vec<Self>) -> Self {
        Self { tag, content: Content::Elements(elements), lie: Lie::Nothing, signature: false }
    }

    /// What was written before.
    pub(super) fn written(octets: Vec<u8>) -> Self {
        Self { tag: 0, content: Content::Written(octets), lie: Lie::Nothing, signature: false }
    }

    /// Zeros, which a signature goes into when the message is written.
    pub(super) fn signature(octets: usize) -> Self {
        Self { signature: true, ..Self::octets(4, vec![0; octets]) }
    }

    /// An INTEGER, in as few octets as it takes, or in more.
    pub(super) fn integer(number: i64, superfluous: usize) -> Self {
        let octets = number.to_be_bytes();
        let fill = if number < 0 { 0xff } else { 0x00 };
        let needless = octets.windows(2).take_while(|pair| pair[0] == fill && (pair[1] ^ fill) & 0x80 == 0).count();
        let mut content = vec![fill; superfluous];
        content.extend(octets.iter().skip(needless));
        Self::octets(2, content)
    }

    /// Puts a lie into this element and some of those in it, now and then. True if nothing was touched.
    pub(super) fn tell_lies(&mut self, u: &mut Unstructured<'_>) -> Result<bool> {
        let mut honest = true;
        if matches!(self.content, Content::Written(_)) {
            return Ok(true);
        }
        if rarely(u, 24)? {
            self.lie = match u.int_in_range(0..=6u8)? {
                0 => Lie::Tag(u.arbitrary()?),
                1 => Lie::Off(i8::try_from(u.int_in_range(1..=MAX_OFF)?).unwrap_or(1)),
                2 => Lie::Off(-i8::try_from(u.int_in_range(1..=MAX_OFF)?).unwrap_or(1)),
                3 => Lie::Huge(u.arbitrary()?),
                4 => Lie::Wide(u.int_in_range(0..=6)?),
                5 => Lie::Indefinite,
                _ => Lie::Missing,
            };
            honest = false;
        }
        if let Content::Elements(elements) = &mut self.content {
            for element in elements {
                honest &= element.tell_lies(u)?;
            }
        }
        Ok(honest)
    }

    /// The octets, and where among them the signature is.
    pub(super) fn write(&self) -> (Vec<u8>, Option<std::ops::Range<usize>>) {
        let mut content = Vec::new();
        let mut place = None;
        match &self.content {
            Content::Written(octets) => return (octets.clone(), None),
            Content::Octets(octets) => {
                content.extend_from_slice(octets);
                place = self.signature.then_some(0..octets.len());
            }
            Content::Elements(elements) => {
                for element in elements {
                    let (octets, inner) = element.write();
                    place = place.or(inner.map(|inner| inner.start + content.len()..inner.end + content.len()));
                    content.extend(octets);
                }
            }
        }
        if self.lie == Lie::Missing {
            return (Vec::new(), None);
        }
        let mut out = vec![if let Lie::Tag(tag) = self.lie { tag } else { self.tag }];
        out.extend(self.length(content.len()));
        let header = out.len();
        out.extend(content);
        (out, place.map(|place| place.start + header..place.end + header))
    }

    /// The octets of the length, as the lie wants them.
    fn length(&self, content: usize) -> Vec<u8> {
        let honest = |length: usize| match u8::try_from(length) {
            Ok(short @ ..0x80) => vec![short],
            _ => wide(length, usize::try_from(usize::BITS - length.leading_zeros()).unwrap_or(0).div_ceil(8)),
        };
        match self.lie {
            Lie::Off(off) => honest(content.saturating_add_signed(off.into())),
            Lie::Huge(length) => wide(usize::try_from(length).unwrap_or(0), 4),
            Lie::Wide(octets) => wide(content, octets.into()),
            Lie::Indefinite => vec![0x80],
            Lie::Nothing | Lie::Tag(_) | Lie::Missing => honest(content),
        }
    }
}

/// A length in so many octets; none at all are the indefinite form.
fn wide(length: usize, octets: usize) -> Vec<u8> {
    let mut out = vec![0x80 | u8::try_from(octets).unwrap_or(0)];
    out.extend((0..octets).rev().map(|place| {
        u8::try_from(length.checked_shr(8 * u32::try_from(place).unwrap_or(9)).unwrap_or(0) & 0xff).unwrap_or(0)
    }));
    out
}

/// What happens to a datagram on its way, or before it is signed. True if it stayed as it was.
pub(super) fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<bool> {
    let before = bytes.clone();
    let times = if rarely(u, 4)? { u.int_in_range(1..=4u8)? } else { 0 };
    for _ in 0..times {
        let place = u.int_in_range(0..=bytes.len())?;
        match u.int_in_range(0..=3u8)? {
            0 => match bytes.get_mut(place) {
                Some(byte) => *byte ^= u.arbitrary::<u8>()?,
                None => bytes.push(u.arbitrary()?),
            },
            1 => bytes.truncate(place),
            2 => drop(bytes.splice(place..place, octets(u, 16)?)),
            _ => drop(bytes.drain(place..bytes.len().min(place + usize::from(u.int_in_range(0..=16u8)?)))),
        }
    }
    Ok(*bytes == before)
}
