//! The bytes that a connection sends, and what became of them on the way.
//!
//! Each connection has a stream of its own: pseudo-random words, each a function of seed and position. So the byte at any
//! offset can be computed without those before it, and, as the function can be reversed, a word that arrives in the wrong
//! place tells where it belongs. That is how loss, repetition, reordering and corruption are told apart.

use std::fmt;

use serde::Serialize;

/// A connection's stream of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    seed: u64,
}

/// SplitMix64 steps its counter by this odd number (2^64 divided by the golden ratio).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Pattern {
    /// The stream of connection number `connection` in a run with this seed.
    pub(crate) fn new(seed: u64, connection: u64) -> Self {
        Self { seed: mix(seed ^ mix(connection.wrapping_add(1))) }
    }

    fn word(self, index: u64) -> [u8; 8] {
        mix(self.seed.wrapping_add(index.wrapping_mul(STEP))).to_le_bytes()
    }

    /// Which word of the stream this is. Any eight bytes are *some* word; only a small index means anything.
    fn index_of(self, word: [u8; 8]) -> u64 {
        unmix(u64::from_le_bytes(word)).wrapping_sub(self.seed).wrapping_mul(inverse(STEP))
    }

    /// The byte at `offset`.
    pub(crate) fn byte(self, offset: u64) -> u8 {
        self.word(offset / 8)[(offset % 8) as usize]
    }

    /// Appends the `bytes` bytes from `offset` on.
    pub(crate) fn append(self, offset: u64, bytes: usize, to: &mut Vec<u8>) {
        let end = to.len() + bytes;
        let (mut index, skip) = (offset / 8, (offset % 8) as usize);
        to.reserve(bytes + 8);
        if skip > 0 && bytes > 0 {
            to.extend_from_slice(&self.word(index)[skip..]);
            index += 1;
        }
        while to.len() < end {
            to.extend_from_slice(&self.word(index));
            index += 1;
        }
        to.truncate(end);
    }

    /// How many of `bytes`, from the first on, are those at `offset` of the stream.
    fn matching(self, offset: u64, bytes: &[u8]) -> usize {
        let head = bytes.len().min((8 - offset % 8) as usize % 8);
        let same = |offset: u64, bytes: &[u8]| {
            bytes.iter().zip(offset..).take_while(|(byte, at)| **byte == self.byte(*at)).count()
        };
        let mut matched = same(offset, &bytes[..head]);
        if matched < head {
            return matched;
        }
        let (words, _) = bytes[head..].as_chunks::<8>();
        let first = (offset + head as u64) / 8;
        matched += 8 * words.iter().zip(first..).take_while(|(word, index)| **word == self.word(*index)).count();
        let rest = &bytes[matched..];
        matched + same(offset + matched as u64, &rest[..rest.len().min(8)])
    }
}

/// SplitMix64's output function: every input has an output of its own.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The reverse of [`mix`].
fn unmix(mut x: u64) -> u64 {
    const A: u64 = inverse(0xBF58_476D_1CE4_E5B9);
    const B: u64 = inverse(0x94D0_49BB_1331_11EB);
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(B);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(A);
    x ^ (x >> 30) ^ (x >> 60)
}

/// The number that times `odd` is 1 (modulo 2^64), by Newton's method: each round doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut round = 0;
    while round < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

/// In which way a stream came back wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Bytes that were sent did not come back.
    Loss,
    /// Bytes came back a second time.
    Repetition,
    /// All bytes came back, in another order.
    Reordering,
    /// Other bytes came back in place of those sent.
    Corruption,
    /// More bytes came back than were sent, and they are none of the stream.
    Surplus,
}

/// The first thing that went wrong in a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The offset, in the stream that came back, of the first byte that is not right.
    pub(crate) offset: u64,
    /// How many bytes are lost, repeated, out of their place, other, or too many.
    pub(crate) bytes: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, offset, bytes } = self;
        let s = if *bytes == 1 { "" } else { "s" };
        match kind {
            Kind::Loss => write!(f, "loss at offset {offset}: {bytes} byte{s} did not come back"),
            Kind::Repetition => write!(f, "repetition at offset {offset}: {bytes} byte{s} came back again"),
            Kind::Reordering => {
                write!(f, "reordering at offset {offset}: {bytes} byte{s} came back before others sent earlier")
            }
            Kind::Corruption => write!(f, "corruption at offset {offset}: {bytes} byte{s} came back changed"),
            Kind::Surplus => write!(f, "surplus at offset {offset}: {bytes} byte{s} came that were never sent"),
        }
    }
}

/// Compares what comes back with what was sent.
#[derive(Debug)]
pub(crate) struct Verifier {
    pattern: Pattern,
    /// Bytes that came back in order and right.
    verified: u64,
    /// What came after the first wrong byte, once there is one.
    evidence: Option<Evidence>,
}

impl Verifier {
    pub(crate) fn new(pattern: Pattern) -> Self {
        Self { pattern, verified: 0, evidence: None }
    }

    /// Bytes that came back in order and right.
    pub(crate) fn verified(&self) -> u64 {
        self.verified
    }

    /// Takes the bytes that came next, while `sent` bytes had been sent in all. True: all is well. False: something is wrong,
    /// now or before; what it is may show only in what comes next, so call [`finish`](Self::finish) when nothing does.
    pub(crate) fn take(&mut self, mut bytes: &[u8], sent: u64) -> bool {
        if self.evidence.is_none() {
            let expected = bytes.len().min(usize::try_from(sent - self.verified).unwrap_or(usize::MAX));
            let right = self.pattern.matching(self.verified, &bytes[..expected]);
            self.verified += right as u64;
            bytes = &bytes[right..];
            if bytes.is_empty() {
                return true;
            }
            self.evidence = Some(Evidence::new(self.pattern, self.verified));
        }
        if let Some(evidence) = &mut self.evidence {
            evidence.take(bytes);
        }
        false
    }

    /// Nothing more comes, of `sent` bytes that were sent: what is wrong, if anything.
    pub(crate) fn finish(&mut self, sent: u64) -> Option<Fault> {
        match &mut self.evidence {
            Some(evidence) => Some(evidence.judge(sent)),
            None if self.verified < sent => {
                Some(Fault { kind: Kind::Loss, offset: self.verified, bytes: sent - self.verified })
            }
            None => None,
        }
    }
}

/// Bytes to look at before saying where in the stream they belong: room for a whole word at any alignment, and more.
const WINDOW: usize = 24;
/// So many bytes do not match by chance.
const ENOUGH: usize = 6;
/// How far around the fault to search byte by byte, for pieces too short to hold a whole word.
const NEAR: u64 = 512;
/// Any eight bytes are the word of some offset; only one within this distance is a place in a stream of ours.
const FAR: u64 = 1 << 42;
/// Evidence beyond these limits is not kept: the first fault is what counts.
const MOST_RUNS: usize = 64;
const MOST_FOREIGN: usize = 4096;

/// A run of received bytes.
#[derive(Debug)]
enum Run {
    /// They are those at `from` of the stream.
    Known { from: u64, bytes: u64 },
    /// They are nowhere in it.
    Foreign(Vec<u8>),
}

/// What came from the first wrong byte on.
#[derive(Debug)]
struct Evidence {
    pattern: Pattern,
    /// Where the first wrong byte came.
    offset: u64,
    /// How many bytes came since, the window included.
    taken: u64,
    runs: Vec<Run>,
    /// Bytes that are not in a run yet.
    window: Vec<u8>,
    /// The bytes of the stream around the fault, and where they begin.
    near: Vec<u8>,
    near_start: u64,
}

impl Evidence {
    fn new(pattern: Pattern, offset: u64) -> Self {
        let (near_start, mut near) = (offset.saturating_sub(NEAR), Vec::new());
        pattern.append(near_start, 2 * NEAR as usize, &mut near);
        Self { pattern, offset, taken: 0, runs: Vec::new(), window: Vec::new(), near, near_start }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.runs.len() < MOST_RUNS {
            if self.window.is_empty()
                && let Some(Run::Known { from, bytes: known }) = self.runs.last_mut()
            {
                let more = self.pattern.matching(*from + *known, bytes);
                *known += more as u64;
                self.taken += more as u64;
                bytes = &bytes[more..];
            }
            let (next, rest) = bytes.split_at(bytes.len().min(WINDOW - self.window.len()));
            self.window.extend_from_slice(next);
            self.taken += next.len() as u64;
            bytes = rest;
            if self.window.len() == WINDOW {
                self.place(None);
            }
        }
    }

    /// Moves at least one byte from the window into a run. At the end, when no more bytes will come, `end` is how many bytes
    /// were sent.
    fn place(&mut self, end: Option<u64>) {
        match self.locate(end) {
            Some((from, bytes)) => {
                self.runs.push(Run::Known { from, bytes: bytes as u64 });
                self.window.drain(..bytes);
                // What is left of the window may go on in this very run: `matching` has stopped where it does not.
            }
            None => {
                let byte = self.window.remove(0);
                match self.runs.last_mut() {
                    Some(Run::Foreign(bytes)) if bytes.len() < MOST_FOREIGN => bytes.push(byte),
                    Some(Run::Foreign(_)) => {}
                    _ => self.runs.push(Run::Foreign(vec![byte])),
                }
            }
        }
    }

    /// Where in the stream the window's first bytes belong, and how many of them.
    fn locate(&self, end: Option<u64>) -> Option<(u64, usize)> {
        let window = &self.window;
        let position = self.offset + self.taken - window.len() as u64;
        let try_at = |from: u64| (from, self.pattern.matching(from, window));
        let long = |&(_, bytes): &(u64, usize)| bytes >= ENOUGH;

        // In step again, as after a byte that was changed.
        let in_step = try_at(position);
        if long(&in_step) || (end.is_some() && in_step.1 == window.len()) {
            return Some(in_step);
        }
        // The bytes that were left out before, however few.
        if let Some((gap, bytes)) = self.gap() {
            let (from, matched) = try_at(gap);
            if matched as u64 >= bytes.min(ENOUGH as u64) {
                return Some((from, matched));
            }
        }
        // A whole word in the window tells its place itself.
        for (before, word) in window.windows(8).enumerate().take(8) {
            let index = self.pattern.index_of(word.try_into().expect("windows of 8"));
            let from = index.checked_mul(8).and_then(|at| at.checked_sub(before as u64));
            if let Some(found) = from.filter(|from| *from < self.offset + FAR).map(try_at).filter(long) {
                return Some(found);
            }
        }
        if window.len() >= ENOUGH && self.foreign() < MOST_FOREIGN {
            let places = self.near.windows(ENOUGH).zip(self.near_start..);
            let alike = places.filter(|(bytes, _)| *bytes == &window[..ENOUGH]).map(|(_, from)| try_at(from));
            if let Some(found) = alike.max_by_key(|(_, bytes)| *bytes) {
                return Some(found);
            }
        }
        // At the end even a few bytes count, if they are all that came and just the stream's last.
        let (from, bytes) = try_at(end?.checked_sub(window.len() as u64)?);
        (bytes == window.len() && self.runs.is_empty()).then_some((from, bytes))
    }

    /// The bytes that the first jump forward left out: where they begin and how many they are.
    fn gap(&self) -> Option<(u64, u64)> {
        let mut expected = self.offset;
        for run in &self.runs {
            match run {
                Run::Foreign(bytes) => expected += bytes.len() as u64,
                Run::Known { from, .. } if *from > expected => return Some((expected, from - expected)),
                Run::Known { from, bytes } => expected = from + bytes,
            }
        }
        None
    }

    fn foreign(&self) -> usize {
        self.runs.iter().map(|run| if let Run::Foreign(bytes) = run { bytes.len() } else { 0 }).sum()
    }

    /// Says what the evidence, all of it, amounts to.
    fn judge(&mut self, sent: u64) -> Fault {
        while !self.window.is_empty() && self.runs.len() < MOST_RUNS {
            self.place(Some(sent));
        }
        let offset = self.offset;
        let fault = |kind, bytes| Fault { kind, offset, bytes };
        let returns = |start: u64, end: u64| {
            self.runs.iter().skip(1).any(|run| matches!(run, Run::Known { from, .. } if (start..end).contains(from)))
        };
        match self.runs.as_slice() {
            [] => fault(Kind::Corruption, self.taken),
            // Ahead of what was due. If that comes later, or nothing is missing in all, it was overtaken.
            [Run::Known { from, bytes }, ..] if *from > offset => {
                if returns(offset, *from) || offset + self.taken == sent {
                    fault(Kind::Reordering, *bytes)
                } else {
                    fault(Kind::Loss, from - offset)
                }
            }
            // Behind it: that has been here before.
            [Run::Known { from, bytes }, ..] => fault(Kind::Repetition, (*bytes).min(offset - from)),
            // A few bytes that belong right behind the run that follows them have overtaken it.
            [Run::Foreign(bytes), Run::Known { from, bytes: known }, ..]
                if *from == offset && self.pattern.matching(from + known, bytes) == bytes.len() =>
            {
                fault(Kind::Reordering, bytes.len() as u64)
            }
            // What follows belongs elsewhere, and yet nothing is missing or too many.
            [Run::Foreign(bytes), Run::Known { from, .. }, ..]
                if *from != offset + bytes.len() as u64 && offset + self.taken == sent =>
            {
                fault(Kind::Reordering, bytes.len() as u64)
            }
            [Run::Foreign(bytes), Run::Known { from, .. }, ..] if *from == offset => {
                fault(Kind::Surplus, bytes.len() as u64)
            }
            [Run::Foreign(bytes), ..] if self.is_rotated(bytes) => fault(Kind::Reordering, bytes.len() as u64),
            [Run::Foreign(_), ..] if offset >= sent => fault(Kind::Surplus, self.taken),
            [Run::Foreign(bytes), ..] => fault(Kind::Corruption, bytes.len() as u64),
        }
    }

    /// Whether `bytes` are the ones that were due, with a part that belongs behind in front: two short pieces swapped.
    fn is_rotated(&self, bytes: &[u8]) -> bool {
        let mut due = Vec::new();
        self.pattern.append(self.offset, bytes.len(), &mut due);
        (1..due.len()).any(|cut| due[cut..] == bytes[..due.len() - cut] && due[..cut] == bytes[due.len() - cut..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(pattern: Pattern, bytes: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        pattern.append(0, bytes, &mut stream);
        stream
    }

    /// Feeds `came` in pieces of the given sizes, of `sent` bytes that were sent.
    fn verdict(pattern: Pattern, came: &[u8], pieces: &[usize], sent: usize) -> Option<Fault> {
        let mut verifier = Verifier::new(pattern);
        let mut pieces = pieces.iter().cycle();
        let mut rest = came;
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(*pieces.next().expect("cycles")));
            let all_well = verifier.take(piece, sent as u64);
            assert_eq!(all_well, verifier.evidence.is_none());
            rest = behind;
        }
        verifier.finish(sent as u64)
    }

    /// What must be found: the kind, at the first place where the two differ.
    fn assert_found(
        kind: Kind,
        pattern: Pattern,
        came: &[u8],
        pieces: &[usize],
        sent: &[u8],
    ) -> Result<u64, TestCaseError> {
        let differs = sent.iter().zip(came).take_while(|(a, b)| a == b).count();
        prop_assume!(differs < sent.len().max(came.len()));
        let fault = verdict(pattern, came, pieces, sent.len());
        let fault = fault.ok_or_else(|| TestCaseError::fail("nothing was found"))?;
        prop_assert_eq!((fault.kind, fault.offset), (kind, differs as u64), "{}", fault);
        Ok(fault.bytes)
    }

    fn pieces() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(prop_oneof![1usize..8, 1usize..3000], 1..8)
    }

    /// Three cuts of a stream: where the fault begins and the sizes of the two blocks that it concerns.
    fn place() -> impl Strategy<Value = (usize, usize, usize, usize)> {
        let block = || prop_oneof![1usize..12, 12usize..600, 600usize..9000];
        (0usize..3000, block(), block(), 0usize..3000)
    }

    proptest! {
        #[test]
        fn a_stream_that_comes_back_whole_is_verified(seed: u64, bytes in 0usize..5000, pieces in pieces()) {
            let pattern = Pattern::new(seed, 0);
            prop_assert_eq!(verdict(pattern, &stream(pattern, bytes), &pieces, bytes), None);
        }

        #[test]
        fn loss_is_found(seed: u64, (start, lost, _, behind) in place(), pieces in pieces()) {
            let pattern = Pattern::new(seed, 1);
            let sent = stream(pattern, start + lost + behind);
            let came = [&sent[..start], &sent[start + lost..]].concat();
            let bytes = assert_found(Kind::Loss, pattern, &came, &pieces, &sent)?;
            prop_assert_eq!(bytes, lost as u64);
        }

        #[test]
        fn repetition_is_found(seed: u64, (start, again, _, behind) in place(), pieces in pieces()) {
            let pattern = Pattern::new(seed, 2);
            let sent = stream(pattern, start + again + behind);
            let came = [&sent[..start + again], &sent[start..]].concat();
            let bytes = assert_found(Kind::Repetition, pattern, &came, &pieces, &sent)?;
            prop_assert_eq!(bytes, again as u64);
        }

        #[test]
        fn reordering_is_found(seed: u64, (start, first, second, behind) in place(), pieces in pieces()) {
            let pattern = Pattern::new(seed, 3);
            let sent = stream(pattern, start + first + second + behind);
            let (a, rest) = sent.split_at(start);
            let (b, rest) = rest.split_at(first);
            // A first byte that is right by chance makes it look like a repetition and a loss, which it then also is.
            prop_assume!(b[0] != rest[0]);
            let (c, d) = rest.split_at(second);
            // A last one likewise: then the rest of a short swap is no swap, and looks changed. And of very few bytes all may be by chance.
            prop_assume!(b.last() != c.last() && first >= 4 && second >= 4);
            assert_found(Kind::Reordering, pattern, &[a, c, b, d].concat(), &pieces, &sent)?;
        }

        #[test]
        fn corruption_is_found(
            seed: u64, start in 0usize..3000, changes in prop::collection::vec(1u8.., 1..600), behind in 0usize..3000, pieces in pieces(),
        ) {
            let pattern = Pattern::new(seed, 4);
            let sent = stream(pattern, start + changes.len() + behind);
            let mut came = sent.clone();
            came[start..].iter_mut().zip(&changes).for_each(|(byte, change)| *byte ^= change);
            let bytes = assert_found(Kind::Corruption, pattern, &came, &pieces, &sent)?;
            prop_assert_eq!(bytes, changes.len() as u64);
        }

        #[test]
        fn surplus_is_found(seed: u64, bytes in 0usize..3000, surplus in prop::collection::vec(0u8.., 1..200), pieces in pieces()) {
            let pattern = Pattern::new(seed, 5);
            let sent = stream(pattern, bytes);
            // A byte or two that repeat the last ones by chance would be a repetition.
            prop_assume!(!sent.ends_with(&surplus));
            let came = [&sent[..], &surplus].concat();
            let fault = verdict(pattern, &came, &pieces, bytes).expect("a fault");
            prop_assert_eq!((fault.kind, fault.offset, fault.bytes), (Kind::Surplus, bytes as u64, surplus.len() as u64));
        }

        #[test]
        fn a_word_tells_its_place(seed: u64, index in 0u64..1 << 60) {
            let pattern = Pattern::new(seed, 6);
            prop_assert_eq!(pattern.index_of(pattern.word(index)), index);
        }

        #[test]
        fn bytes_are_the_same_however_they_are_asked_for(seed: u64, offset in 0u64..1 << 50, bytes in 0usize..100) {
            let pattern = Pattern::new(seed, 7);
            let mut appended = vec![1, 2, 3];
            pattern.append(offset, bytes, &mut appended);
            let one_by_one: Vec<u8> = (offset..).take(bytes).map(|at| pattern.byte(at)).collect();
            prop_assert_eq!(&appended[3..], &one_by_one[..]);
            prop_assert_eq!(pattern.matching(offset, &one_by_one), bytes);
        }
    }

    #[test]
    fn bytes_that_are_right_but_were_not_sent_yet_are_a_surplus_or_luck_but_never_taken_as_verified() {
        let pattern = Pattern::new(1, 1);
        let mut verifier = Verifier::new(pattern);
        assert!(!verifier.take(&stream(pattern, 64), 32));
        assert_eq!(verifier.verified(), 32);
    }

    #[test]
    fn an_old_message_that_comes_again_much_later_is_a_repetition() {
        let pattern = Pattern::new(9, 9);
        let sent = stream(pattern, 2_000_000);
        let came = [&sent[..1_500_000], &sent[64..128], &sent[1_500_000..]].concat();
        let fault = verdict(pattern, &came, &[16384], sent.len()).expect("a fault");
        assert_eq!(fault, Fault { kind: Kind::Repetition, offset: 1_500_000, bytes: 64 });
        assert_eq!(fault.to_string(), "repetition at offset 1500000: 64 bytes came back again");
    }

    #[test]
    fn connections_have_streams_of_their_own() {
        assert_ne!(stream(Pattern::new(0, 0), 64), stream(Pattern::new(0, 1), 64));
        assert_ne!(stream(Pattern::new(0, 0), 64), stream(Pattern::new(1, 0), 64));
    }
}
