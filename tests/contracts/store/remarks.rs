//! What staff writes, beside the log.

use domain::ids::RemarkId;
use domain::ports::Remark;

use super::{Place, noon, on_both, seconds};

on_both! {
    a_remark_is_kept_as_it_was_written,
    a_remark_put_again_stays_what_it_was,
}

pub(super) fn remark(id: &str, member: &str, text: &str) -> Remark {
    Remark { id: id.into(), member: member.into(), text: text.to_owned(), at: noon() }
}

async fn a_remark_is_kept_as_it_was_written(place: Place) {
    let remarks = place.open().await.remarks;
    let written = remark("rmk_1", "mem_ada", "Über „Ada“:\nsie rief an, 'dreimal'; -- \u{1f600}");
    remarks.put(written.clone()).await.unwrap();
    remarks.put(remark("rmk_2", "mem_bob", "Her card was lost.")).await.unwrap();
    let ids: [RemarkId; 2] = ["rmk_3".into(), "rmk_1".into()];
    assert_eq!(remarks.get(&ids).await.unwrap(), [written], "one that is not there is left out");
    assert_eq!(remarks.get(&[]).await.unwrap(), []);
}

async fn a_remark_put_again_stays_what_it_was(place: Place) {
    let remarks = place.open().await.remarks;
    let first = remark("rmk_1", "mem_ada", "The first words.");
    remarks.put(first.clone()).await.unwrap();
    let again = Remark { at: noon() + seconds(9), ..remark("rmk_1", "mem_bob", "Other words.") };
    remarks.put(again).await.unwrap();
    assert_eq!(remarks.get(&["rmk_1".into()]).await.unwrap(), [first]);
}
