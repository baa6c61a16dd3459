/// Fills a sorted collection one by one. `collect` sorts first, and brings the code of a sort for each type of item; that
/// pays only where there are more items than a plugin has.
pub fn gathered<C: Default + Extend<T>, T>(items: impl IntoIterator<Item = T>) -> C {
    let mut all = C::default();
    all.extend(items);
    all
}
