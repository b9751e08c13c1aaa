use super::*;

fn planned(kind: PlannedKind<u8>, mode: u32) -> Planned<u8> {
    Planned { kind, mode, uid: 0, gid: 0, mtime: Timestamp::EPOCH, xattrs: BTreeMap::new(), origin: "test".into() }
}

fn file(mode: u32) -> Planned<u8> {
    planned(PlannedKind::File { size: 1, content: 7 }, mode)
}

fn path(text: &str) -> EntryPath {
    EntryPath::parse(text).unwrap()
}

fn plan(entries: Vec<(&str, Planned<u8>)>) -> Result<LayerPlan<u8>, PlanError> {
    let mut plan = LayerPlan::new(Allowed::default());
    for (name, entry) in entries {
        plan.add(path(name), entry)?;
    }
    Ok(plan)
}

fn finish(entries: Vec<(&str, Planned<u8>)>) -> Result<Vec<(EntryHead, Option<u8>)>, PlanError> {
    plan(entries)?.finish(&mut Below::new(), true, Timestamp::EPOCH)
}

fn names(heads: &[(EntryHead, Option<u8>)]) -> Vec<&str> {
    heads.iter().map(|(head, _)| head.path.as_str()).collect()
}

#[test]
fn parents_come_first_and_only_on_scratch() {
    let entries = || vec![("usr/bin/b", file(0o755)), ("usr/bin/a", file(0o755))];
    assert_eq!(names(&finish(entries()).unwrap()), ["usr", "usr/bin", "usr/bin/a", "usr/bin/b"]);
    let heads = plan(entries()).unwrap().finish(&mut Below::new(), false, Timestamp::EPOCH).unwrap();
    assert_eq!(names(&heads), ["usr/bin/a", "usr/bin/b"]);
}

#[test]
fn the_order_of_adding_does_not_matter() {
    let link = |target: &str| planned(PlannedKind::Hardlink { target: path(target) }, 0o644);
    let one = finish(vec![("z", file(0o644)), ("a", link("z")), ("m", link("a"))]).unwrap();
    let two = finish(vec![("m", link("z")), ("a", link("z")), ("z", file(0o644))]).unwrap();
    assert_eq!(one, two);
    assert_eq!(one[0].0.kind, EntryKind::File { size: 1 });
    assert_eq!(one[2].0.kind, EntryKind::Hardlink { target: path("a") });
}

#[test]
fn surprises_are_refused_unless_asked_for() {
    assert!(matches!(plan(vec![("su", file(0o4755))]), Err(PlanError::Setuid { .. })));
    assert!(matches!(plan(vec![("a", file(0o666))]), Err(PlanError::WorldWritable { .. })));
    assert!(matches!(plan(vec![("d", planned(PlannedKind::Directory, 0o777))]), Err(PlanError::WorldWritable { .. })));
    assert!(plan(vec![("tmp", planned(PlannedKind::Directory, 0o1777))]).is_ok());
    assert!(matches!(plan(vec![(".wh.etc", file(0o644))]), Err(PlanError::Whiteout { .. })));
    let mut capable = file(0o755);
    capable.xattrs.insert("security.capability".into(), vec![1]);
    assert!(matches!(plan(vec![("ping", capable.clone())]), Err(PlanError::Xattr { .. })));
    let mut all = LayerPlan::new(Allowed { setuid: true, world_writable: true, case_clash: true, xattrs: true });
    for (name, entry) in [("su", file(0o4755)), ("a", file(0o666)), ("A", file(0o644)), ("ping", capable)] {
        all.add(path(name), entry).unwrap();
    }
    assert_eq!(all.finish(&mut Below::new(), true, Timestamp::EPOCH).unwrap().len(), 4);
}

#[test]
fn duplicates_and_clashes_are_refused() {
    assert!(matches!(plan(vec![("a", file(0o644)), ("a", file(0o644))]), Err(PlanError::Duplicate { .. })));
    let directory = |mode| planned(PlannedKind::Directory, mode);
    assert!(plan(vec![("d", directory(0o755)), ("d", directory(0o755))]).is_ok());
    assert!(matches!(plan(vec![("d", directory(0o755)), ("d", directory(0o700))]), Err(PlanError::Duplicate { .. })));
    assert!(matches!(finish(vec![("README", file(0o644)), ("readme", file(0o644))]), Err(PlanError::CaseClash { .. })));
    assert!(matches!(finish(vec![("a", file(0o644)), ("a/b", file(0o644))]), Err(PlanError::ParentNotDirectory { .. })));
}

#[test]
fn links_stay_inside() {
    let link = |target: &str| planned(PlannedKind::Symlink { target: target.into() }, 0o777);
    assert!(plan(vec![("a/b", link("../c"))]).is_ok());
    assert!(matches!(plan(vec![("a/b", link("../../c"))]), Err(PlanError::LinkEscapes { .. })));
    assert!(matches!(plan(vec![("a", link(""))]), Err(PlanError::LinkTarget { .. })));
    let hard = |target: &str| planned(PlannedKind::Hardlink { target: path(target) }, 0o644);
    assert!(matches!(finish(vec![("a", hard("b"))]), Err(PlanError::HardlinkTarget { .. })));
    assert!(matches!(finish(vec![("a", hard("b")), ("b", hard("a"))]), Err(PlanError::HardlinkTarget { .. })));
    // Writing through a link of a lower layer of ours.
    let mut below = Below::new();
    plan(vec![("bin", link("usr/bin"))]).unwrap().finish(&mut below, true, Timestamp::EPOCH).unwrap();
    let through = plan(vec![("bin/app", file(0o755))]).unwrap().finish(&mut below, true, Timestamp::EPOCH);
    assert!(matches!(through, Err(PlanError::ParentNotDirectory { .. })));
}

#[test]
fn removing_writes_a_whiteout() {
    let heads = finish(vec![("etc/motd", planned(PlannedKind::Whiteout, 0o644))]).unwrap();
    assert_eq!(names(&heads), ["etc/.wh.motd"]);
    assert_eq!(heads[0].0.kind, EntryKind::File { size: 0 });
}
