//! Netlink framing (netlink(7)): messages in a datagram, attributes in a message.

/// Bytes of `struct nlmsghdr`.
pub const HEADER: usize = 16;
/// Bytes of `struct nfgenmsg`, which follows the header in every netfilter message.
pub const NETFILTER_HEADER: usize = 4;

const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_F_NESTED`: the attribute contains attributes.
pub const NESTED: u16 = 0x8000;
/// Masks out `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_TYPE: u16 = 0x3fff;

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`; its upper byte is the netfilter subsystem.
    pub kind: u16,
    /// `nlmsg_flags`, `NLM_F_…`.
    pub flags: u16,
    /// `nlmsg_seq`; an answer has the number of its request.
    pub sequence: u32,
    /// The whole message, header included.
    pub bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// The bytes after the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }
}

/// The messages of a datagram, up to the first with an invalid length.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER>()?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let bytes = datagram.get(..length).filter(|_| length >= HEADER)?;
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
            bytes,
        })
    })
}

/// An attribute: its type without flags, and its value.
pub type Attribute<'a> = (u16, &'a [u8]);

/// The attributes in these bytes, up to the first with an invalid length.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<ATTRIBUTE_HEADER>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let content = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
        Some((u16::from_ne_bytes([header[2], header[3]]) & ATTRIBUTE_TYPE, content))
    })
}

/// `NLMSG_ALIGN` and `NLA_ALIGN`.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// A number in network byte order; `None` if the attribute has another size.
pub(super) fn be16(content: &[u8]) -> Option<u16> {
    content.try_into().ok().map(u16::from_be_bytes)
}

/// See [`be16`].
pub(super) fn be32(content: &[u8]) -> Option<u32> {
    content.try_into().ok().map(u32::from_be_bytes)
}

/// See [`be16`].
pub(super) fn be64(content: &[u8]) -> Option<u64> {
    content.try_into().ok().map(u64::from_be_bytes)
}

/// The string up to its terminating zero, or all of it without one.
pub fn until_zero(content: &[u8]) -> &[u8] {
    content.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The bytes of an attribute, padded.
#[must_use]
pub fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    // attributes of requests have a few bytes
    let length = u16::try_from(ATTRIBUTE_HEADER + content.len()).unwrap_or(u16::MAX);
    let mut bytes = Vec::with_capacity(aligned(usize::from(length)));
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(content);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

/// Builds a request: a netlink message with attributes.
#[derive(Clone, Debug)]
pub struct Request(Vec<u8>);

impl Request {
    /// A message of this type with these flags; `body` is the fixed header before the attributes.
    #[must_use]
    pub fn new(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(aligned(bytes.len()), 0);
        Request(bytes)
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, content: &[u8]) -> Self {
        self.0.extend(attribute(kind, content));
        self
    }

    /// The message with its length set.
    #[must_use]
    pub fn bytes(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_message_is_decoded_unchanged() {
        let bytes = Request::new(0x0400, 5, 7, &[2, 0, 0, 0]).with(10, b"abc").with(2, &[0, 0, 0, 9]).bytes();
        let mut two = bytes.clone();
        two.extend(&bytes);
        let read: Vec<_> = messages(&two).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].kind, read[1].flags, read[1].sequence), (0x0400, 5, 7));
        let found: Vec<_> = attributes(&read[1].body()[NETFILTER_HEADER..]).collect();
        assert_eq!(found, [(10, &b"abc"[..]), (2, &[0, 0, 0, 9][..])]);
    }

    #[test]
    fn decoding_stops_at_an_invalid_length() {
        assert_eq!(messages(&[0; 16]).count(), 0);
        assert_eq!(messages(&[255; 64]).count(), 0);
        assert_eq!(attributes(&[3, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[9, 0, 1, 0, 9]).count(), 0);
        assert_eq!(attributes(&[4, 0, 1, 0x80]).collect::<Vec<_>>(), [(1, &[][..])]);
    }
}
