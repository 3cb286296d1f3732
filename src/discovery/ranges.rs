//! Ranges as people write them: `10.0.0.0/24`, `10.0.0.1-10.0.0.99`, `10.0.0.1-99`, `10.0.0.7`, `printer.example`, and
//! exclusions of any of these with `!` in front.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use super::fence::Fence;
use super::intervals::{Interval, Intervals, address_of, network_of, number_of};

/// Most addresses in one set: a /16.
pub const ADDRESSES_MAX: u64 = 65_536;
/// Most items in one list.
const ITEMS_MAX: usize = 256;
/// Most addresses of one name that are looked at.
const ANSWERS_MAX: usize = 16;
/// How long a name may take. A resolver that is silent would hold up a search for longer than the search takes.
const RESOLVE_MAX: Duration = Duration::from_secs(5);
/// Names that are asked for at once, so that a whole list of them that nobody knows takes minutes and not an hour.
const RESOLVE_AT_ONCE: usize = 16;

/// Why ranges cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// Not any of the forms.
    #[error(
        "\"{0}\" is not a range: write 10.0.0.0/24, 10.0.0.1-10.0.0.99, 10.0.0.7 or printer.example; with ! in front to leave it out"
    )]
    Malformed(String),
    /// A number of bits that the address does not have.
    #[error("\"{item}\": a prefix has 0 to {most} bits")]
    Prefix {
        /// The item.
        item: String,
        /// 32 or 128.
        most: u8,
    },
    /// First after last.
    #[error("\"{0}\": the first address lies after the last; write the smaller one first")]
    Backwards(String),
    /// IPv4 to IPv6.
    #[error("\"{0}\": both ends of a range must be IPv4, or both IPv6")]
    Mixed(String),
    /// Too long a list.
    #[error("{0} items are more than the {ITEMS_MAX} that one list may have")]
    TooManyItems(usize),
    /// Too wide.
    #[error(
        "these ranges hold {0} addresses within the fence, and {ADDRESSES_MAX} (a /16) is the most: name the networks in which there are printers"
    )]
    TooManyAddresses(u128),
    /// A name where there may be none.
    #[error("\"{0}\": a fence is made of addresses, not of names")]
    NameInFence(String),
    /// A name that is not known.
    #[error("the name \"{name}\" in the ranges cannot be resolved: {source}")]
    Unresolved {
        /// The name.
        name: String,
        /// The resolver's words.
        source: io::Error,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Interval(Interval),
    Name(String),
}

/// A parsed list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    included: Vec<Item>,
    excluded: Vec<Item>,
}

/// Turns names into addresses.
pub trait Resolver: Sync {
    /// The addresses of a name.
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<IpAddr>>> + Send;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct DnsResolver;

impl Resolver for DnsResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.lookup(name, 0).await.map(|addresses| addresses.into_iter().map(|address| address.ip()).collect())
    }
}

impl DnsResolver {
    /// The addresses of a name, each with this port; an error when there was no answer within five seconds.
    ///
    /// # Errors
    /// The resolver's.
    pub async fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        within(RESOLVE_MAX, async { Ok(tokio::net::lookup_host((name, port)).await?.collect()) }).await
    }
}

async fn within<T>(most: Duration, lookup: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {most:?}"));
    tokio::time::timeout(most, lookup).await.map_err(late)?
}

impl Ranges {
    /// Reads a list.
    ///
    /// # Errors
    /// Names the first item that cannot be read, and how it is written.
    pub fn parse<T: AsRef<str>>(items: &[T]) -> Result<Self, RangeError> {
        if items.len() > ITEMS_MAX {
            return Err(RangeError::TooManyItems(items.len()));
        }
        let mut ranges = Self::default();
        for text in items {
            let text = text.as_ref().trim();
            let (list, item) = match text.strip_prefix('!') {
                Some(rest) => (&mut ranges.excluded, rest.trim()),
                None => (&mut ranges.included, text),
            };
            list.push(match parse_interval(item)? {
                Some(interval) => Item::Interval(interval),
                None => Item::Name(item.to_owned()),
            });
        }
        Ok(ranges)
    }

    /// The addresses: of the ranges, without the exclusions, within the fence. Names are resolved once, here.
    ///
    /// # Errors
    /// When a name is not known (an unknown exclusion too: it would ask what must not be asked), or there are too many
    /// addresses.
    pub async fn resolve(&self, fence: &Fence, resolver: &impl Resolver) -> Result<AddressSet, RangeError> {
        let included = intervals(&self.included, resolver).await?;
        let excluded = intervals(&self.excluded, resolver).await?;
        let set = included.intersection(fence.intervals()).without(&excluded);
        match set.len() {
            count if count > u128::from(ADDRESSES_MAX) => Err(RangeError::TooManyAddresses(count)),
            _ => Ok(AddressSet { intervals: set }),
        }
    }
}

async fn intervals(items: &[Item], resolver: &impl Resolver) -> Result<Intervals, RangeError> {
    let part = async |item: &Item| match item {
        Item::Interval(interval) => Ok(vec![*interval]),
        Item::Name(name) => {
            let unresolved = |source| RangeError::Unresolved { name: name.clone(), source };
            let addresses = resolver.resolve(name).await.map_err(unresolved)?;
            Ok(addresses.into_iter().take(ANSWERS_MAX).map(|ip| (number_of(ip), number_of(ip))).collect())
        }
    };
    let parts: Vec<Vec<Interval>> =
        futures_util::stream::iter(items).map(part).buffered(RESOLVE_AT_ONCE).try_collect().await?;
    Ok(Intervals::of(parts.concat()))
}

/// The interval that an item means; `None` for a name.
pub(super) fn parse_interval(item: &str) -> Result<Option<Interval>, RangeError> {
    let malformed = || RangeError::Malformed(item.to_owned());
    if let Some((address, bits)) = item.split_once('/') {
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = || RangeError::Prefix { item: item.to_owned(), most };
        let bits: u8 = bits.parse().ok().filter(|&bits| bits <= most).ok_or_else(prefix)?;
        return Ok(Some(network(address, bits)));
    }
    if let Ok(address) = item.parse::<IpAddr>() {
        return Ok(Some((number_of(address), number_of(address))));
    }
    if let Some((first, last)) = item.split_once('-')
        && let Ok(first) = first.trim().parse::<IpAddr>()
    {
        let last = parse_last(first, last.trim()).ok_or_else(malformed)?;
        if first.is_ipv4() != last.is_ipv4() {
            return Err(RangeError::Mixed(item.to_owned()));
        }
        let interval = (number_of(first), number_of(last));
        return if interval.0 <= interval.1 { Ok(Some(interval)) } else { Err(RangeError::Backwards(item.to_owned())) };
    }
    if is_name(item) { Ok(None) } else { Err(malformed()) }
}

/// A network, whatever host bits were written; of IPv4 networks of more than two addresses without the first and the last,
/// which name the network and everybody in it (RFC 1122 §3.2.1.3).
fn network(address: IpAddr, bits: u8) -> Interval {
    let (first, last) = network_of(address, bits);
    if address.is_ipv4() && bits < 31 { (first + 1, last - 1) } else { (first, last) }
}

/// `10.0.0.1-10.0.0.99` or `10.0.0.1-99`.
fn parse_last(first: IpAddr, last: &str) -> Option<IpAddr> {
    if let (IpAddr::V4(first), Ok(octet)) = (first, last.parse::<u8>()) {
        let [a, b, c, _] = first.octets();
        return Some(IpAddr::from([a, b, c, octet]));
    }
    last.parse().ok()
}

/// A host name (RFC 1123 §2.1). One that is all digits and dots is a mistyped address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253
        && text.split('.').all(is_label)
        && text.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_alphabetic()))
}

/// Addresses that may be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressSet {
    intervals: Intervals,
}

impl AddressSet {
    pub(super) fn of(intervals: Intervals) -> Self {
        Self { intervals }
    }

    pub(super) fn intervals(&self) -> &Intervals {
        &self.intervals
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        u64::try_from(self.intervals.len()).unwrap_or(u64::MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this is one of them.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.intervals.contains(number_of(ip))
    }

    /// Each address once, neighbours far apart: no part of the network gets a burst.
    pub fn iter_permuted(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let set = self.clone();
        let count = set.len();
        let stride = stride_for(count);
        (0..count).filter_map(move |n| {
            let index = u64::try_from(u128::from(n) * u128::from(stride) % u128::from(count.max(1))).ok()?;
            set.nth(index)
        })
    }

    fn nth(&self, index: u64) -> Option<IpAddr> {
        let mut rest = u128::from(index);
        for &(first, last) in self.intervals.all() {
            let size = last - first + 1;
            if rest < size {
                return Some(address_of(first + rest));
            }
            rest -= size;
        }
        None
    }
}

/// A step near the golden section of `count` that has no divisor in common with it, so that steps visit every place.
fn stride_for(count: u64) -> u64 {
    let golden = count.saturating_mul(618) / 1_000;
    (golden.max(1)..=count.max(1)).find(|&stride| gcd(stride, count) == 1).unwrap_or(1)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    struct Table;

    impl Resolver for Table {
        async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            match name {
                "good.example" => Ok(vec!["10.0.0.9".parse().unwrap()]),
                "evil.example" => Ok(vec!["8.8.8.8".parse().unwrap(), "127.0.0.1".parse().unwrap()]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    async fn addresses(items: &[&str]) -> Result<Vec<String>, RangeError> {
        let set = Ranges::parse(items)?.resolve(&Fence::default(), &Table).await?;
        let mut all: Vec<IpAddr> = set.iter_permuted().collect();
        all.sort_unstable();
        Ok(all.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn every_form_means_what_people_mean_by_it() {
        assert_eq!(addresses(&["10.0.0.0/30"]).await.unwrap(), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(addresses(&["10.0.0.2/31"]).await.unwrap(), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(addresses(&["10.0.0.7/32", "10.0.0.7"]).await.unwrap(), ["10.0.0.7"]);
        assert_eq!(addresses(&["10.0.0.9-10.0.0.10"]).await.unwrap(), ["10.0.0.9", "10.0.0.10"]);
        assert_eq!(addresses(&["10.0.0.9-11", "!10.0.0.10"]).await.unwrap(), ["10.0.0.9", "10.0.0.11"]);
        assert_eq!(addresses(&["10.0.0.5/30"]).await.unwrap(), ["10.0.0.5", "10.0.0.6"]);
        assert_eq!(addresses(&["fd00::1-fd00::2"]).await.unwrap(), ["fd00::1", "fd00::2"]);
        assert_eq!(addresses(&["good.example"]).await.unwrap(), ["10.0.0.9"]);
        assert_eq!(addresses(&["10.0.0.0/24"]).await.unwrap().len(), 254);
    }

    #[tokio::test]
    async fn a_name_cannot_lead_out_of_the_fence() {
        assert!(addresses(&["evil.example", "8.8.8.0/24"]).await.unwrap().is_empty());
        assert!(matches!(addresses(&["!nobody.example"]).await, Err(RangeError::Unresolved { .. })));
    }

    #[tokio::test]
    async fn a_resolver_that_says_nothing_is_not_waited_for() {
        let error = within(Duration::from_millis(1), std::future::pending::<io::Result<()>>()).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (io::ErrorKind::TimedOut, "no answer within 1ms"));
    }

    #[tokio::test]
    async fn too_much_is_an_error_that_says_how_much() {
        let error = addresses(&["0.0.0.0/0"]).await.unwrap_err();
        assert!(matches!(error, RangeError::TooManyAddresses(count) if count > 17_000_000), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_quoted() {
        for bad in [
            "",
            "10.0.0.300",
            "10.0.0.0/",
            "10.0.0.0/33",
            "fd00::/129",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1-fd00::1",
            "10.0.0",
            "1.2.3.4.5",
            "a b",
            "10.0.0.1-",
            "http://x",
            "!",
            "-x.example",
        ] {
            let error = Ranges::parse(&[bad]).unwrap_err().to_string();
            assert!(error.contains(bad.trim_start_matches('!')), "{bad}: {error}");
        }
    }

    fn any_item() -> impl Strategy<Value = String> {
        let v4 = any::<u32>().prop_map(std::net::Ipv4Addr::from_bits);
        let near = (0u32..1_024).prop_map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        let item = prop_oneof![
            near.clone().prop_map(|ip| ip.to_string()),
            (near.clone(), 22u8..=32).prop_map(|(ip, bits)| format!("{ip}/{bits}")),
            (near.clone(), near).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (v4, 20u8..=32).prop_map(|(ip, bits)| format!("{ip}/{bits}")),
            (any::<u128>(), 116u8..=128).prop_map(|(ip, bits)| format!("{}/{bits}", std::net::Ipv6Addr::from_bits(ip))),
        ];
        (item, prop::bool::weighted(0.3)).prop_map(|(item, not)| if not { format!("!{item}") } else { item })
    }

    proptest! {
        #[test]
        fn whatever_is_written_only_what_is_in_range_and_fence_is_asked(
            items in proptest::collection::vec(any_item(), 0..6),
        ) {
            let ranges = Ranges::parse(&items).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let fence = Fence::default();
            if let Ok(set) = runtime.block_on(ranges.resolve(&fence, &Table)) {
                let inside = |list: &[Item], ip| list.iter().any(|item| match item {
                    Item::Interval((first, last)) => (*first..=*last).contains(&number_of(ip)),
                    Item::Name(_) => false,
                });
                let mut seen = HashSet::new();
                for ip in set.iter_permuted() {
                    prop_assert!(fence.allows(ip) && set.contains(ip));
                    prop_assert!(inside(&ranges.included, ip) && !inside(&ranges.excluded, ip));
                    prop_assert!(seen.insert(ip), "{} twice", ip);
                }
                prop_assert_eq!(seen.len() as u64, set.len());
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = Ranges::parse(&[text]);
        }
    }
}
