use super::*;
use crate::tb_format::sample::SampleFile;
use crate::tier::sample::LOG_OPS;
use crate::tier::tigerbeetle::format::manifest::Extent;
use crate::tier::tigerbeetle::format::pack::Location;
use crate::tier::tigerbeetle::restore::tests::Fixture;

#[test]
fn neighbours_are_fetched_together_and_what_lies_between_others_is_not() {
    let fixture = Fixture::empty();
    let backup = fixture.backup(&SampleFile::new(7, LOG_OPS));
    let mut manifest = Manifest::read(&fixture.repository, &backup.name, None).unwrap();
    let (extent, pack) = (manifest.extents[0], manifest.packs[0].clone());
    manifest.packs = vec![pack.clone(), pack.clone(), pack];
    for (parts, expected) in [
        // The first frame and the number of frames; then where each fetch begins and ends.
        (&[(0, 4), (4, 2)][..], vec![(0, 6)]),
        (&[(0, 4), (5, 2)], vec![(0, 4), (5, 7)]),
        (&[(0, 4), (3, 2)], vec![(0, 5)]),
        (&[(0, 9), (3, 2)], vec![(0, 9)]),
        (&[(7, 1), (0, 1), (1, 1)], vec![(0, 2), (7, 8)]),
        (&[], vec![]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|(first, end)| first..end).collect();
        let of_pack = |pack| {
            parts.iter().map(move |(first_frame, blocks)| {
                let location = Location { pack, first_frame: *first_frame, blocks: *blocks };
                Extent { location, ..extent }
            })
        };
        manifest.extents = of_pack(2).chain(of_pack(0)).collect();
        assert_eq!(needed_by_pack(&manifest), [expected.clone(), vec![], expected], "{parts:?}");
    }
}
