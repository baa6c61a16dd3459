//! How the contract's types lie in memory (the canonical ABI of components, for 32-bit addresses): a record as a C struct,
//! a variant as a tag of one byte and a C union. What owns memory frees it when it is dropped.
#![allow(unsafe_code, reason = "memory that comes from the host and goes there")]

use std::mem::ManuallyDrop;

/// A list, in memory for exactly as many items.
#[repr(C)]
pub struct List<T> {
    items: *mut T,
    count: usize,
}

impl<T> List<T> {
    /// The items, without a copy.
    pub fn into_vec(self) -> Vec<T> {
        let list = ManuallyDrop::new(self);
        // SAFETY: whoever made the list, `from` here or the host by way of our `cabi_realloc`, had the memory from the
        // global allocator, for as many items of this type, and gave it away.
        unsafe { vec_of(list.items, list.count) }
    }
}

/// # Safety
/// The memory is of the global allocator, for exactly `count` items that are there, and nobody else's.
unsafe fn vec_of<T>(items: *mut T, count: usize) -> Vec<T> {
    if count == 0 {
        return Vec::new();
    }
    // SAFETY: see above.
    unsafe { Vec::from_raw_parts(items, count, count) }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        let items = items.into_boxed_slice();
        let count = items.len();
        Self { items: Box::into_raw(items).cast(), count }
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        // SAFETY: as in `into_vec`, after which nothing is dropped.
        drop(unsafe { vec_of(self.items, self.count) });
    }
}

/// Text.
#[repr(C)]
pub struct Text(List<u8>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes().into())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        // SAFETY: a component gets no text that is not UTF-8.
        unsafe { Self::from_utf8_unchecked(text.0.into_vec()) }
    }
}

/// Something or nothing.
#[repr(C, u8)]
pub enum Maybe<T> {
    /// Nothing.
    None,
    /// Something.
    Some(T),
}

impl<T, V: From<T>> From<Option<T>> for Maybe<V> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, |value| Self::Some(value.into()))
    }
}

impl From<Maybe<Text>> for Option<String> {
    fn from(value: Maybe<Text>) -> Self {
        match value {
            Maybe::None => None,
            Maybe::Some(text) => Some(text.into()),
        }
    }
}

/// Each item as another type.
pub fn each<T, V>(items: Vec<T>, mut convert: impl FnMut(T) -> V) -> Vec<V> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        all.push(convert(item));
    }
    all
}

/// Takes arguments that are too many to be passed but in memory.
///
/// # Safety
/// The host has just called an export with arguments of this type.
pub unsafe fn taken<T>(arguments: *mut u8) -> T {
    // SAFETY: the host had the memory from our `cabi_realloc`, which is the global allocator's, in the layout of `T`.
    *unsafe { Box::from_raw(arguments.cast()) }
}

/// Gives a result to the host, which calls [`freed`] once it has read it.
pub fn given<T>(result: T) -> *mut u8 {
    Box::into_raw(Box::new(result)).cast()
}

/// Frees a result.
///
/// # Safety
/// It was [`given`] as this type, and this is the first call for it.
pub unsafe fn freed<T>(result: *mut u8) {
    // SAFETY: `given` made it of a box of this type.
    drop(unsafe { Box::from_raw(result.cast::<T>()) });
}
