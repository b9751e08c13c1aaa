//! A layer is a function of its entries and the format version alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::plan::{Allowed, Below};
use super::{EntryPath, FinishedLayer, LayerPlan, LayerWriter, Planned, PlannedKind, TarWriter};
use crate::oci::FormatVersion;
use crate::oci::media_type::LayerCodec;
use crate::time::Timestamp;

type Files = BTreeMap<String, (Vec<u8>, u32)>;

fn layer(files: &[(&String, &(Vec<u8>, u32))], codec: LayerCodec, threads: usize) -> FinishedLayer {
    let mut plan = LayerPlan::new(Allowed { case_clash: true, ..Allowed::default() });
    for (path, (content, mode)) in files {
        let kind = PlannedKind::File { size: content.len() as u64, content: content.clone() };
        let planned = Planned {
            kind,
            mode: *mode,
            uid: 0,
            gid: 0,
            mtime: Timestamp::EPOCH,
            xattrs: BTreeMap::new(),
            origin: "here".into(),
        };
        plan.add(EntryPath::parse(path).unwrap(), planned).unwrap();
    }
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    let writer = LayerWriter::new(Vec::new(), codec, FormatVersion::V1, pool, None).unwrap();
    let mut tar = TarWriter::new(writer);
    for (head, content) in plan.finish(&mut Below::new(), true, Timestamp::EPOCH).unwrap() {
        tar.entry(&head, &mut content.unwrap_or_default().as_slice()).unwrap();
    }
    tar.finish().unwrap().finish().unwrap().0
}

fn files() -> impl Strategy<Value = Files> {
    // Directories end in `d`, files do not, so that no path lies below a file.
    let path = "([a-z]{1,3}d/){0,3}[a-cé]{1,4}x";
    let content = (0_usize..200_000, any::<u8>()).prop_map(|(length, seed)| {
        (0..length).map(|at| (at.wrapping_mul(usize::from(seed) | 1) >> 3) as u8).collect::<Vec<u8>>()
    });
    proptest::collection::btree_map(path, (content, prop_oneof![Just(0o644), Just(0o755)]), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn order_and_threads_do_not_matter(files in files(), threads in 1_usize..6, rotate in 0_usize..12) {
        for codec in [LayerCodec::Gzip, LayerCodec::Zstd, LayerCodec::None] {
            let mut list: Vec<_> = files.iter().collect();
            let first = layer(&list, codec, 1);
            list.reverse();
            list.rotate_left(rotate % files.len());
            prop_assert_eq!(layer(&list, codec, threads), first);
        }
    }

    #[test]
    fn every_byte_and_mode_matters(files in files(), pick in any::<prop::sample::Index>()) {
        let list: Vec<_> = files.iter().collect();
        let first = layer(&list, LayerCodec::Gzip, 2);
        let path = pick.get(&list).0.clone();
        let mut longer = files.clone();
        longer.get_mut(&path).unwrap().0.push(7);
        prop_assert_ne!(layer(&longer.iter().collect::<Vec<_>>(), LayerCodec::Gzip, 2).digest, first.digest);
        let mut mode = files.clone();
        mode.get_mut(&path).unwrap().1 ^= 0o111;
        prop_assert_ne!(layer(&mode.iter().collect::<Vec<_>>(), LayerCodec::Gzip, 2).digest, first.digest);
    }
}
