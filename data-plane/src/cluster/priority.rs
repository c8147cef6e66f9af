//! Which share of requests each priority level gets, and which levels are in panic.
//!
//! Envoy's rules: a level's health is its healthy share times the overprovisioning factor; what a
//! level cannot take goes to the next one, first for healthy, then for degraded hosts; when all
//! levels together reach less than 100 % the shares are scaled up. A level whose healthy share is
//! below the panic threshold uses all of its hosts, unless the levels together reach 100 %. Pure.

use smallvec::SmallVec;

/// Host counts of one level (or their weights, with `weighted_priority_health`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Hosts, without the excluded ones.
    pub(super) total: u64,
    /// Healthy ones among them.
    pub(super) healthy: u64,
    /// Degraded ones among them.
    pub(super) degraded: u64,
}

/// What a level gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Percent of requests for its healthy hosts.
    pub(super) healthy: u64,
    /// Percent of requests for its degraded hosts.
    pub(super) degraded: u64,
    /// All of its hosts are used.
    pub(super) panic: bool,
}

/// Loads of all levels; one level is by far the usual case.
pub(super) type Loads = SmallVec<[Load; 1]>;

/// Rules of a cluster and its endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// `overprovisioning_factor`, in percent (140).
    pub(super) overprovisioning: u64,
    /// `healthy_panic_threshold`, in percent (50); 0 switches panic off.
    pub(super) panic_threshold: f64,
}

/// Loads of the levels, which add up to 100 % unless there is none.
pub(super) fn loads(levels: &[Counts], rules: Rules) -> Loads {
    let share = |part: u64, total: u64| {
        (rules.overprovisioning * part).checked_div(total).unwrap_or(0).min(100)
    };
    let healthy = levels.iter().map(|level| share(level.healthy, level.total)).collect();
    let degraded = levels.iter().map(|level| share(level.degraded, level.total)).collect();
    let mut loads: Loads = levels.iter().map(|_| Load::default()).collect();
    if loads.is_empty() {
        return loads;
    }
    let reach = total(&healthy, &degraded).min(100);
    if reach == 0 {
        loads[0].healthy = 100;
        loads[0].panic = rules.panic_threshold > 0.0;
        return loads;
    }
    distribute(&mut loads, (&healthy, &degraded), reach);
    for (load, level) in loads.iter_mut().zip(levels) {
        load.panic = reach < 100 && below_threshold(*level, rules.panic_threshold);
    }
    if loads.iter().all(|load| load.panic) {
        by_size(&mut loads, levels);
    }
    loads
}

type Shares = SmallVec<[u64; 4]>;

fn total(healthy: &Shares, degraded: &Shares) -> u64 {
    healthy.iter().chain(degraded).sum()
}

fn distribute(loads: &mut Loads, (healthy, degraded): (&Shares, &Shares), reach: u64) {
    let mut left = 100;
    for (load, share) in loads.iter_mut().zip(healthy) {
        load.healthy = left.min(share * 100 / reach);
        left -= load.healthy;
    }
    for (load, share) in loads.iter_mut().zip(degraded) {
        load.degraded = left.min(share * 100 / reach);
        left -= load.degraded;
    }
    // What rounding left over goes to the first level that takes anything.
    if let Some(index) = healthy.iter().position(|share| *share > 0) {
        loads[index].healthy += left;
    } else if let Some(index) = degraded.iter().position(|share| *share > 0) {
        loads[index].degraded += left;
    }
}

fn below_threshold(level: Counts, threshold: f64) -> bool {
    let percent = |part: u64| (part * 100).checked_div(level.total).unwrap_or(0);
    // Percentages are at most 200, exact as a float.
    #[expect(clippy::cast_precision_loss, reason = "at most 200")]
    let reached = (percent(level.healthy) + percent(level.degraded)) as f64;
    reached < threshold
}

/// All levels in panic: requests follow the number of hosts.
fn by_size(loads: &mut Loads, levels: &[Counts]) {
    let hosts: u64 = levels.iter().map(|level| level.total).sum();
    let mut left = 100;
    for (load, level) in loads.iter_mut().zip(levels) {
        load.degraded = 0;
        load.healthy = left.min((100 * level.total).checked_div(hosts).unwrap_or(0));
        left -= load.healthy;
    }
    if let Some(index) = levels.iter().position(|level| level.total > 0) {
        loads[index].healthy += left;
    }
}

/// Whose hosts a request gets: `ticket` is uniform in `0..100`.
pub(super) fn choose(loads: &[Load], ticket: u64) -> Option<(usize, Class)> {
    let mut sum = 0;
    for (index, load) in loads.iter().enumerate() {
        sum += load.healthy;
        if ticket < sum {
            return Some((index, Class::Healthy));
        }
    }
    for (index, load) in loads.iter().enumerate() {
        sum += load.degraded;
        if ticket < sum {
            return Some((index, Class::Degraded));
        }
    }
    None
}

/// Which hosts of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Healthy,
    Degraded,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { overprovisioning: 140, panic_threshold: 50.0 };

    fn level(total: u64, healthy: u64, degraded: u64) -> Counts {
        Counts { total, healthy, degraded }
    }

    /// `(healthy, degraded, panic)` of each level.
    fn of(levels: &[Counts]) -> Vec<(u64, u64, bool)> {
        let loads = loads(levels, RULES);
        let sum: u64 = loads.iter().map(|load| load.healthy + load.degraded).sum();
        assert_eq!(sum, if levels.is_empty() { 0 } else { 100 });
        loads.iter().map(|load| (load.healthy, load.degraded, load.panic)).collect()
    }

    /// The table of Envoy's documentation on priority levels.
    #[test]
    fn traffic_spills_over_as_documented() {
        let share = |p0: u64, p1: u64| {
            of(&[level(100, p0, 0), level(100, p1, 0)]).iter().map(|l| l.0).collect::<Vec<_>>()
        };
        assert_eq!(share(100, 100), [100, 0]);
        assert_eq!(share(72, 72), [100, 0]);
        assert_eq!(share(71, 71), [99, 1]);
        assert_eq!(share(50, 50), [70, 30]);
        assert_eq!(share(25, 100), [35, 65]);
        assert_eq!(share(0, 100), [0, 100]);
    }

    #[test]
    fn nothing_available_is_panic_of_the_first_level() {
        assert_eq!(of(&[level(3, 0, 0), level(3, 0, 0)]), [(100, 0, true), (0, 0, false)]);
        let off = Rules { panic_threshold: 0.0, ..RULES };
        assert!(!loads(&[level(3, 0, 0)], off)[0].panic);
        assert_eq!(of(&[]), []);
    }

    #[test]
    fn panic_needs_less_than_full_reach() {
        // One of two healthy: 70 %, not below 50 % healthy hosts.
        assert_eq!(of(&[level(2, 1, 0)]), [(100, 0, false)]);
        assert_eq!(of(&[level(4, 1, 0)]), [(100, 0, true)]);
        // The second level takes everything, so that the first does not panic.
        assert_eq!(of(&[level(4, 1, 0), level(4, 4, 0)]), [(35, 0, false), (65, 0, false)]);
    }

    #[test]
    fn all_levels_in_panic_share_by_size() {
        let loads = of(&[level(10, 2, 0), level(30, 3, 0)]);
        assert_eq!(loads, [(25, 0, true), (75, 0, true)]);
    }

    #[test]
    fn degraded_hosts_take_what_healthy_ones_leave() {
        assert_eq!(of(&[level(10, 5, 5)]), [(70, 30, false)]);
        assert_eq!(of(&[level(10, 0, 10)]), [(0, 100, false)]);
    }

    #[test]
    fn tickets_follow_loads() {
        let loads = loads(&[level(10, 5, 5)], RULES);
        assert_eq!(choose(&loads, 0), Some((0, Class::Healthy)));
        assert_eq!(choose(&loads, 69), Some((0, Class::Healthy)));
        assert_eq!(choose(&loads, 70), Some((0, Class::Degraded)));
        assert_eq!(choose(&[], 0), None);
    }
}
