//! Ranges as people write them: `10.0.0.0/24`, `10.0.0.1-10.0.0.99`, `10.0.0.1-99`, `10.0.0.7`, `printer.example`, and
//! exclusions of any of these with `!` in front. Link-local IPv6 addresses bear their interface: `fe80::7%eth0`,
//! `fe80::1%eth0-fe80::9%eth0`, `fe80::%eth0/120` (RFC 4007 §11); only where all of them are meant, in a fence or an
//! exclusion, it may be left out.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};

use super::address::{AddressError, ScopedIp, Written, zone_of};
use super::fence::Fence;
use super::intervals::{Interval, Intervals, address_of, behind, link_local, network_of, number_of, used_link_local};

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
        "\"{0}\" is not a range: write 10.0.0.0/24, 10.0.0.1-10.0.0.99, 10.0.0.7, fe80::7%eth0 or printer.example; with ! in front to leave it out"
    )]
    Malformed(String),
    /// An address that cannot be asked as it is written.
    #[error(transparent)]
    Address(AddressError),
    /// A network that reaches over the interface of its addresses.
    #[error("\"{0}\": a network of link-local addresses has 64 to 128 bits")]
    LinkLocalPrefix(String),
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
    /// From one interface to another.
    #[error("\"{0}\": both ends of a range must lie behind the same interface")]
    TwoInterfaces(String),
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
    Span(Span),
    Name(String),
}

/// Addresses from one to another, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// As if there were no interface.
    numbers: Interval,
    /// Behind which they lie, and the item in which it was said.
    interface: Option<(String, String)>,
}

impl Span {
    /// The addresses on this machine.
    ///
    /// # Errors
    /// When it has no such interface.
    pub(super) fn interval(&self) -> Result<Interval, RangeError> {
        let Some((interface, item)) = &self.interface else { return Ok(self.numbers) };
        Ok(behind(self.numbers, zone_of(interface, item).map_err(RangeError::Address)?))
    }
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
    fn resolve(&self, name: &str) -> impl Future<Output = io::Result<Vec<ScopedIp>>> + Send;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy)]
pub struct DnsResolver;

impl Resolver for DnsResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<ScopedIp>> {
        self.lookup(name, 0).await.map(|addresses| addresses.into_iter().map(ScopedIp::from).collect())
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
    /// Reads a list. Whether there are such names and interfaces is only known where it is resolved.
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
            list.push(match parse_span(item)? {
                Some(span) => Item::Span(span),
                None => Item::Name(item.to_owned()),
            });
        }
        Ok(ranges)
    }

    /// The addresses: of the ranges, without the exclusions, within the fence. Names are resolved once, here.
    ///
    /// # Errors
    /// When a name or an interface is not known (an unknown exclusion too: it would ask what must not be asked), or there
    /// are too many addresses.
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
        Item::Span(span) => Ok(vec![span.interval()?]),
        Item::Name(name) => {
            let unresolved = |source| RangeError::Unresolved { name: name.clone(), source };
            let addresses = resolver.resolve(name).await.map_err(unresolved)?;
            // A link-local address in the DNS says nothing, as it does not say where (RFC 4472 §2.1).
            let askable = addresses.into_iter().take(ANSWERS_MAX).filter(|address| !address.lacks_interface());
            Ok(askable.map(|address| (number_of(address), number_of(address))).collect())
        }
    };
    let parts: Vec<Vec<Interval>> =
        futures_util::stream::iter(items).map(part).buffered(RESOLVE_AT_ONCE).try_collect().await?;
    Ok(Intervals::of(parts.concat()))
}

/// The addresses that an item means; `None` for a name.
pub(super) fn parse_span(item: &str) -> Result<Option<Span>, RangeError> {
    if let Some((text, bits)) = item.split_once('/') {
        let address = address_in(text, item)?;
        let most: u8 = if address.ip.is_ipv4() { 32 } else { 128 };
        let prefix = || RangeError::Prefix { item: item.to_owned(), most };
        let bits: u8 = bits.parse().ok().filter(|&bits| bits <= most).ok_or_else(prefix)?;
        if address.interface.is_some() && bits < 64 {
            return Err(RangeError::LinkLocalPrefix(item.to_owned()));
        }
        return span(network(address.ip, bits), address.interface, item, text).map(Some);
    }
    if let Some((first, last)) = split_range(item) {
        let first = address_in(first, item)?;
        let last = parse_last(first.ip, last, item)?;
        if first.ip.is_ipv4() != last.ip.is_ipv4() {
            return Err(RangeError::Mixed(item.to_owned()));
        }
        let numbers = (number_of(first.ip), number_of(last.ip));
        if numbers.0 > numbers.1 {
            return Err(RangeError::Backwards(item.to_owned()));
        }
        // It need not be said twice.
        let interface = first.interface.or(last.interface);
        if last.interface.is_some_and(|other| interface != Some(other)) {
            return Err(RangeError::TwoInterfaces(item.to_owned()));
        }
        return span(numbers, interface, item, item).map(Some);
    }
    match address_in(item, item) {
        Ok(address) => span((number_of(address.ip), number_of(address.ip)), address.interface, item, item).map(Some),
        Err(RangeError::Malformed(_)) if is_name(item) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An address that is a part of this item.
fn address_in<'a>(text: &'a str, item: &str) -> Result<Written<'a>, RangeError> {
    Written::parse(text.trim()).map_err(|error| match error {
        AddressError::Malformed(_) => RangeError::Malformed(item.to_owned()),
        other => RangeError::Address(other),
    })
}

/// Both ends of a range, where this is one: there is an address before the hyphen, and behind it too where the hyphen may
/// be a part of an interface's name.
fn split_range(item: &str) -> Option<(&str, &str)> {
    let is_ip = |text: &str| text.split('%').next().is_some_and(|ip| ip.trim().parse::<IpAddr>().is_ok());
    item.match_indices('-')
        .map(|(at, _)| (&item[..at], &item[at + 1..]))
        .find(|(first, last)| is_ip(first) && (!first.contains('%') || is_ip(last)))
}

/// Of link-local addresses whose interface is not said only all together mean something. `place` is where it belongs.
fn span(numbers: Interval, interface: Option<&str>, item: &str, place: &str) -> Result<Span, RangeError> {
    let (all, used) = (link_local(), used_link_local());
    let is_elsewhere = numbers.1 < all.0 || all.1 < numbers.0;
    if is_elsewhere || interface.is_some() {
        return Ok(Span { numbers, interface: interface.map(|interface| (interface.to_owned(), item.to_owned())) });
    }
    // All of fe80::/64, so behind every interface.
    let whole = network_of(address_of(used.0).ip(), 64);
    if numbers.0 <= whole.0 && whole.1 <= numbers.1 {
        return Ok(Span { numbers: (numbers.0, numbers.1.max(used.1)), interface: None });
    }
    Err(RangeError::Address(AddressError::NoInterface { address: place.to_owned() }))
}

/// A network, whatever host bits were written; of IPv4 networks of more than two addresses without the first and the last,
/// which name the network and everybody in it (RFC 1122 §3.2.1.3).
fn network(address: IpAddr, bits: u8) -> Interval {
    let (first, last) = network_of(address, bits);
    if address.is_ipv4() && bits < 31 { (first + 1, last - 1) } else { (first, last) }
}

/// `10.0.0.1-10.0.0.99` or `10.0.0.1-99`.
fn parse_last<'a>(first: IpAddr, last: &'a str, item: &str) -> Result<Written<'a>, RangeError> {
    if let (IpAddr::V4(first), Ok(octet)) = (first, last.trim().parse::<u8>()) {
        let [a, b, c, _] = first.octets();
        return Ok(Written { ip: IpAddr::from([a, b, c, octet]), interface: None });
    }
    address_in(last, item)
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
    pub fn contains(&self, address: impl Into<ScopedIp>) -> bool {
        self.intervals.contains(number_of(address))
    }

    /// Each address once, neighbours far apart: no part of the network gets a burst.
    pub fn iter_permuted(&self) -> impl Iterator<Item = ScopedIp> + use<> {
        let set = self.clone();
        let count = set.len();
        let stride = stride_for(count);
        (0..count).filter_map(move |n| {
            let index = u64::try_from(u128::from(n) * u128::from(stride) % u128::from(count.max(1))).ok()?;
            set.nth(index)
        })
    }

    fn nth(&self, index: u64) -> Option<ScopedIp> {
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
        async fn resolve(&self, name: &str) -> io::Result<Vec<ScopedIp>> {
            let all = |texts: &[&str]| Ok(texts.iter().map(|ip| ip.parse::<IpAddr>().unwrap().into()).collect());
            match name {
                "good.example" => all(&["10.0.0.9"]),
                "evil.example" => all(&["8.8.8.8", "127.0.0.1", "fe80::1"]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    async fn addresses(items: &[&str]) -> Result<Vec<String>, RangeError> {
        let set = Ranges::parse(items)?.resolve(&Fence::default(), &Table).await?;
        let mut all: Vec<ScopedIp> = set.iter_permuted().collect();
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
        assert_eq!(addresses(&["::ffff:10.0.0.8/127"]).await.unwrap(), ["10.0.0.8", "10.0.0.9"]);
        assert_eq!(addresses(&["fd00::1-fd00::2"]).await.unwrap(), ["fd00::1", "fd00::2"]);
        assert_eq!(addresses(&["good.example"]).await.unwrap(), ["10.0.0.9"]);
        assert!(addresses(&["a-10.example"]).await.unwrap_err().to_string().contains("\"a-10.example\" in the ranges"));
        assert_eq!(addresses(&["10.0.0.0/24"]).await.unwrap().len(), 254);
    }

    #[tokio::test]
    async fn a_name_cannot_lead_out_of_the_fence() {
        assert!(addresses(&["evil.example", "8.8.8.0/24"]).await.unwrap().is_empty());
        assert!(matches!(addresses(&["!nobody.example"]).await, Err(RangeError::Unresolved { .. })));
    }

    #[tokio::test]
    async fn link_local_addresses_are_asked_behind_their_interface() {
        let fence = Fence::parse(&["fe80::/10"]).unwrap();
        let asked = async |items: &[&str]| {
            let set = Ranges::parse(items).unwrap().resolve(&fence, &Table).await.unwrap();
            let mut all: Vec<ScopedIp> = set.iter_permuted().collect();
            all.sort_unstable();
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked(&["fe80::7%lo"]).await, ["fe80::7%lo"]);
        for two in ["fe80::1%lo-fe80::2%lo", "fe80::1%lo-fe80::2", "fe80::1-fe80::2%lo", "fe80::1%1 - fe80::2%1"] {
            assert_eq!(asked(&[two]).await, ["fe80::1%lo", "fe80::2%lo"], "{two}");
        }
        assert_eq!(asked(&["fe80::4%lo/127", "!fe80::5%lo"]).await, ["fe80::4%lo"]);
        assert_eq!(asked(&["fe80::7%lo", "!fe80::/10"]).await, Vec::<String>::new());
        // The DNS does not say behind which interface.
        assert_eq!(asked(&["evil.example"]).await, Vec::<String>::new());
    }

    #[test]
    fn a_link_local_address_without_its_interface_says_what_to_write() {
        for (bad, remedy) in [
            ("fe80::1", "as fe80::1%"),
            ("!fe80::1", "as fe80::1%"),
            ("fe80::/120", "as fe80::%"),
            ("fe80::1-fe80::9", "as fe80::1-fe80::9%"),
            ("fe80::1%a name", "is not a range"),
            ("fe80::1%lo-fe80::9%eth9", "same interface"),
            ("fd00::1%lo", "leave out what stands behind the %"),
            ("fe80::%lo/48", "64 to 128 bits"),
        ] {
            let error = Ranges::parse(&[bad]).unwrap_err().to_string();
            assert!(error.contains(remedy), "{bad}: {error}");
        }
    }

    #[tokio::test]
    async fn an_interface_that_is_not_there_is_an_error_where_the_addresses_are_asked_and_says_what_is_there() {
        // The cloud takes a list for a box whose interfaces it does not know.
        for item in ["fe80::1%nosuch0", "!fe80::1%nosuch0", "fe80::1%no-such-fe80-fe80::9", "fe80::1%br-lan"] {
            let ranges = Ranges::parse(&["10.0.0.1", item]).unwrap();
            let error = ranges.resolve(&Fence::default(), &Table).await.unwrap_err().to_string();
            assert!(error.contains("this machine has no network interface") && error.contains("it has lo"), "{error}");
        }
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
        // Networks of IPv6 are far too wide to be searched; so many addresses are counted and not listed.
        for (wide, count) in [("fd00::/64", 1 << 64), ("fd00::/111", 1 << 17), ("fc00::/7", 1 << 121)] {
            let error = addresses(&[wide]).await.unwrap_err();
            assert!(matches!(error, RangeError::TooManyAddresses(n) if n == count), "{wide}: {error}");
        }
        assert_eq!(addresses(&["fd00::/112"]).await.unwrap().len(), 65_536);
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
        // Link-local ones need an interface behind them.
        let v6 = any::<u128>().prop_map(std::net::Ipv6Addr::from_bits);
        let v6 = v6.prop_filter("it is link-local", |ip| !ip.is_unicast_link_local());
        let near = (0u32..1_024).prop_map(|n| std::net::Ipv4Addr::from_bits(0x0a00_0000 + n));
        let item = prop_oneof![
            near.clone().prop_map(|ip| ip.to_string()),
            (near.clone(), 22u8..=32).prop_map(|(ip, bits)| format!("{ip}/{bits}")),
            (near.clone(), near).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (v4, 20u8..=32).prop_map(|(ip, bits)| format!("{ip}/{bits}")),
            (v6, 116u8..=128).prop_map(|(ip, bits)| format!("{ip}/{bits}")),
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
                    Item::Span(span) => {
                        let (first, last) = span.interval().unwrap();
                        (first..=last).contains(&number_of(ip))
                    }
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
        fn neighbours_lie_far_apart_in_time(first in 0u128..1_000_000, count in 64u64..10_000) {
            let set = AddressSet::of(Intervals::of(vec![(first, first + u128::from(count) - 1)]));
            let numbers: Vec<u128> = set.iter_permuted().map(number_of).collect();
            // No stretch of asking keeps to one part of the network: the next one asked is at least a quarter away.
            for pair in numbers.windows(2) {
                prop_assert!(pair[0].abs_diff(pair[1]) * 4 >= u128::from(count), "{:?} of {}", pair, count);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}") {
            let _ = Ranges::parse(&[text]);
        }
    }
}
