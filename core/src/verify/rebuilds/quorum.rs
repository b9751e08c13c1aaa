//! How many rebuilders are distinct: each counts with one builder id, and each builder id counts for one rebuilder.

/// The most rebuilders that can be given a builder id each, none of them twice. `claims` holds the builder ids of each rebuilder.
pub(super) fn distinct(claims: &[Vec<&str>]) -> usize {
    let mut builders: Vec<&str> = claims.iter().flatten().copied().collect();
    builders.sort_unstable();
    builders.dedup();
    let mut taken: Vec<Option<usize>> = vec![None; builders.len()];
    (0..claims.len())
        .filter(|rebuilder| give(*rebuilder, claims, &builders, &mut taken, &mut vec![false; builders.len()]))
        .count()
}

/// Gives `rebuilder` a builder id, if need be by giving others another one.
fn give(rebuilder: usize, claims: &[Vec<&str>], builders: &[&str], taken: &mut [Option<usize>], asked: &mut [bool]) -> bool {
    for place in claims.get(rebuilder).into_iter().flatten().filter_map(|claim| builders.binary_search(claim).ok()) {
        match asked.get_mut(place) {
            Some(asked) if !*asked => *asked = true,
            _ => continue,
        }
        let holder = taken.get(place).copied().flatten();
        if holder.is_none_or(|holder| give(holder, claims, builders, taken, asked))
            && let Some(taken) = taken.get_mut(place)
        {
            *taken = Some(rebuilder);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn one_machine_under_two_names_and_two_machines_under_one_name_count_once() {
        assert_eq!(distinct(&[]), 0);
        assert_eq!(distinct(&[vec![], vec![]]), 0);
        assert_eq!(distinct(&[vec!["x", "y", "z"]]), 1);
        assert_eq!(distinct(&[vec!["x"], vec!["x"]]), 1);
        assert_eq!(distinct(&[vec!["x", "y"], vec!["x"]]), 2);
        assert_eq!(distinct(&[vec!["x", "y", "z"], vec!["x"], vec!["x"]]), 2);
        assert_eq!(distinct(&[vec!["x", "y"], vec!["y", "z"], vec!["x"]]), 3);
    }
}
