package hang

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCanonical: the names that rustc 1.73, 1.74, 1.96 and 1.97 give to functions, as nm, py-spy and gdb show them, and the
// rule that each is there for.
func TestCanonical(t *testing.T) {
	for raw, want := range map[string]struct {
		path string
		wait wait
	}{
		// rustc 1.73 and 1.74, from the wheels of tokenizers 0.15.0 and rpds-py 0.13.2
		"_ZN3std3sys4unix5locks11futex_mutex5Mutex14lock_contended17h46699ece8efaf22cE": {
			"std::sys::unix::locks::futex_mutex::Mutex::lock_contended", forMutex},
		"_ZN3std10sys_common4once5futex4Once4call17h00cbf99fe52ff5eaE": {"std::sys_common::once::futex::Once::call", forOnce},
		"_ZN3std3sys4unix6thread6Thread4join17h3879b137f5fb7b1cE":      {"std::sys::unix::thread::Thread::join", forThread},
		"_ZN3std6thread18JoinInner$LT$T$GT$4join17h6f19ed6971bae9abE":  {"std::thread::JoinInner::join", forThread},
		"_ZN3std4sync9once_lock17OnceLock$LT$T$GT$10initialize17h3b235ace29d9c72eE": {
			"std::sync::once_lock::OnceLock::initialize", forOnce},
		"_ZN3std3sys4unix5locks13futex_condvar7Condvar4wait17h4d01310ac02d2d61E": {
			"std::sys::unix::locks::futex_condvar::Condvar::wait", forCondvar},
		"_ZN11parking_lot4once4Once14call_once_slow17h85e9270dacc65105E":    {"parking_lot::once::Once::call_once_slow", forOnce},
		"_ZN11parking_lot9raw_mutex8RawMutex9lock_slow17h4079fd2159974960E": {"parking_lot::raw_mutex::RawMutex::lock_slow", forMutex},
		"_ZN4pyo33gil8GILGuard7acquire17hf6cf367053531121E":                 {"pyo3::gil::GILGuard::acquire", forGIL},
		"_ZN10rayon_core8registry12WorkerThread15wait_until_cold17h5ff790a8d9eac33eE": {
			"rayon_core::registry::WorkerThread::wait_until_cold", forRayon},
		"_ZN4core3ops8function6FnOnce40call_once$u7b$$u7b$vtable.shim$u7d$$u7d$17h1c66990187aadeb5E.llvm.3742713718795353355": {
			"core::ops::function::FnOnce::call_once{shim}", nothing},
		"_ZN4pyo34sync20GILOnceCell$LT$T$GT$4init17h01a5bbff74d0a938E.llvm.17673911095763850131": {
			"pyo3::sync::GILOnceCell::init", nothing},

		// rustc 1.96 with legacy symbols, as py-spy shows them
		"std::sync::poison::mutex::Mutex$LT$T$GT$::lock::h7159d57536d47cf5":          {"std::sync::poison::mutex::Mutex::lock", forMutex},
		"lock_api::mutex::Mutex$LT$R$C$T$GT$::lock::h9ba549d0b575e244":               {"lock_api::mutex::Mutex::lock", forMutex},
		"std::thread::lifecycle::JoinInner$LT$T$GT$::join::h04d07d1a8efac774":        {"std::thread::lifecycle::JoinInner::join", forThread},
		"std::sync::lazy_lock::LazyLock$LT$T$C$F$GT$::force::h49de442e01a5d0d3":      {"std::sync::lazy_lock::LazyLock::force", forOnce},
		"std::sync::mpmc::list::Channel$LT$T$GT$::recv::h2a83397a3fb6261a":           {"std::sync::mpmc::list::Channel::recv", forChannel},
		"pyo3::internal::state::AttachGuard::do_attach_unchecked::h087016313ce056a6": {"pyo3::internal::state::AttachGuard::do_attach_unchecked", forGIL},
		"tokio::runtime::park::Inner::park::hddeff83ec0d57b5f":                       {"tokio::runtime::park::Inner::park", forTokio},
		"std::sync::mpmc::list::Channel$LT$T$GT$::recv::_$u7b$$u7b$closure$u7d$$u7d$::h079ae8fe4aa48a60": {
			"std::sync::mpmc::list::Channel::recv::{closure}", forChannel},
		"_$LT$std..sync..lazy_lock..LazyLock$LT$T$C$F$GT$$u20$as$u20$core..ops..deref..Deref$GT$::deref::h49a467fbb0622ca0": {
			"std::sync::lazy_lock::LazyLock::deref", forOnce},
		"_$LT$parking_lot..raw_mutex..RawMutex$u20$as$u20$lock_api..mutex..RawMutex$GT$::lock::h18a5b3c5e98b8ce0": {
			"parking_lot::raw_mutex::RawMutex::lock", forMutex},
		"_$LT$hangs..threads..Worker$u20$as$u20$core..ops..drop..Drop$GT$::drop::h53df0a126efcda63": {
			"hangs::threads::Worker::drop", nothing},
		"core::ops::function::impls::_$LT$impl$u20$core..ops..function..FnMut$LT$A$GT$$u20$for$u20$$RF$F$GT$::call_mut::hc0e0a40cade106ad": {
			"F::call_mut", nothing},
		"legacy_hangs::_::_$LT$impl$u20$legacy_hangs..gil_mutex..MakeDef$GT$::DEF::trampoline::h2d8a78fb49b0a942": {
			"legacy_hangs::gil_mutex::MakeDef::DEF::trampoline", nothing},
		"core::ptr::drop_in_place$LT$core..option..Option$LT$std..sync..mpsc..Sender$LT$$LP$$RP$$GT$$GT$$GT$::h77406fb549de86d7": {
			"core::ptr::drop_in_place", nothing},

		// rustc 1.96 and 1.97 with v0 symbols
		"_RNvMNtNtNtNtCshneofopkDMp_3std3sys4sync5mutex5futexNtB2_5Mutex14lock_contended": {
			"std::sys::sync::mutex::futex::Mutex::lock_contended", forMutex},
		"_RNvMs0_NtNtNtNtCshneofopkDMp_3std3sys4sync4once5futexNtB5_4Once4call": {
			"std::sys::sync::once::futex::Once::call", forOnce},
		"_RNvMs0_NtNtNtCshneofopkDMp_3std3sys6thread4unixNtB5_6Thread4join": {"std::sys::thread::unix::Thread::join", forThread},
		"_RNvNtNtCshneofopkDMp_3std6thread9functions4park":                  {"std::thread::functions::park", forUnpark},
		"_RNvMNtNtNtCshneofopkDMp_3std4sync4mpmc7contextNtB2_7Context10wait_until": {
			"std::sync::mpmc::context::Context::wait_until", forChannel},
		"_RNvMNtNtCsjMFNsoiT3xL_4pyo38internal5stateNtB2_11AttachGuard19do_attach_unchecked": {
			"pyo3::internal::state::AttachGuard::do_attach_unchecked", forGIL},
		"_RNvMs1_NtCs4VAcJOBum2_11parking_lot9raw_mutexNtB5_8RawMutex9lock_slow": {"parking_lot::raw_mutex::RawMutex::lock_slow", forMutex},
		"_RNvMs1_NtNtCshneofopkDMp_3std6thread9lifecycleINtB5_9JoinInneruE4joinCs4Nm6fOuZVb8_5hangs": {
			"std::thread::lifecycle::JoinInner::join", forThread},
		"_RNvMNtNtCshneofopkDMp_3std4sync9lazy_lockINtB2_8LazyLocklE5forceCs4Nm6fOuZVb8_5hangs": {
			"std::sync::lazy_lock::LazyLock::force", forOnce},
		"_RNvMs2_NtCsin2uby4rXXY_8lock_api5mutexINtB5_5MutexNtNtCs4VAcJOBum2_11parking_lot9raw_mutex8RawMutexlE4lockCs4Nm6fOuZVb8_5hangs": {
			"lock_api::mutex::Mutex::lock", forMutex},
		"_RNCNvMs1_NtNtNtCshneofopkDMp_3std4sync4mpmc4listINtB7_7ChanneljE4recvs_0Cs4Nm6fOuZVb8_5hangs": {
			"std::sync::mpmc::list::Channel::recv::{closure}", forChannel},
		"_RNvXNtCs4Nm6fOuZVb8_5hangs7threadsNtB2_6WorkerNtNtNtCs1VQHFgRHxwR_4core3ops4drop4Drop4drop": {
			"hangs::threads::Worker::drop", nothing},
		"_RINvNtCs1VQHFgRHxwR_4core3ptr9drop_glueINtNtB4_4cell10UnsafeCellNtNtCs4Nm6fOuZVb8_5hangs5exits7SessionEEB14_": {
			"core::ptr::drop_glue", nothing},
		"_RINvMs_NtCsjMFNsoiT3xL_4pyo36markerNtB5_6Python6attachNCNCNvNtCs4Nm6fOuZVb8_5hangs5exits11join_worker00uEBY_": {
			"pyo3::marker::Python::attach", nothing},
		"_RNvYNCNvNvNtCs4Nm6fOuZVb8_5hangs12initialisers8lazy_gil5VALUE0INtNtNtCs1VQHFgRHxwR_4core3ops8function6FnOnceuE9call_onceBa_": {
			"hangs::initialisers::lazy_gil::VALUE::{closure}::call_once", nothing},
		"_RNvXst_NtCsdHtynhtH4Ix_5alloc5boxedINtB5_3BoxDINtNtNtCs1VQHFgRHxwR_4core3ops8function6FnOnceuEp6OutputuNtNtBP_6marker4SendEL_EIBJ_uE9call_onceCshneofopkDMp_3std": {
			"alloc::boxed::Box::call_once", nothing},

		// The same, as tools print it that demangle it, and as DWARF names what was inlined
		"<std::sys::sync::once::futex::Once>::call": {"std::sys::sync::once::futex::Once::call", forOnce},
		"<std::sync::once_lock::OnceLock<usize>>::get_or_init::<hangs::settings::{closure#0}>": {
			"std::sync::once_lock::OnceLock::get_or_init", forOnce},
		"std[a1b2c3d4e5f60718]::thread::functions::park":                            {"std::thread::functions::park", forUnpark},
		"std::sys::thread::unix::{impl#2}::new::thread_start":                       {"std::sys::thread::unix::{impl}::new::thread_start", nothing},
		"core::ptr::drop_in_place<pyo3_ffi::impl_::HangThread>":                     {"core::ptr::drop_in_place", nothing},
		"<&(dyn core::any::Any + core::marker::Send) as core::fmt::Debug>::fmt":     {"core::any::Any::fmt", nothing},
		"<fn(&str) -> core::option::Option<u8> as my::Parse>::parse":                {"fn(&str) -> core::option::Option::parse", nothing},
		"core::str::<impl str>::len":                                                {"str::len", nothing},
		"<alloc::vec::Vec<T> as core::iter::Extend<<I as Iterator>::Item>>::extend": {"alloc::vec::Vec::extend", nothing},

		// More names that were once taken for something else
		"parking_lot::condvar::Condvar::wait_until_internal":     {"parking_lot::condvar::Condvar::wait_until_internal", forCondvar},
		"std::sync::reentrant_lock::ReentrantLock<T>::lock":      {"std::sync::reentrant_lock::ReentrantLock::lock", forMutex},
		"flume::Hook<T,S>::wait_recv":                            {"flume::Hook::wait_recv", forChannel},
		"a::b::h0123456789abcdef.cold.1":                         {"a::b", nothing},
		"<pyo3_ffi::impl_::HangThread as core::ops::Drop>::drop": {"pyo3_ffi::impl_::HangThread::drop", forNothing},

		// C
		"take_gil":                      {"take_gil", forGIL},
		"take_gil.lto_priv.0":           {"take_gil", forGIL},
		"_PyEval_EvalFrameDefault.cold": {"_PyEval_EvalFrameDefault", nothing},
		"___pthread_mutex_lock":         {"___pthread_mutex_lock", forCLock},
		"__GI___clock_nanosleep":        {"__GI___clock_nanosleep", forTime},
		"__libc_recv":                   {"__libc_recv", forNetwork},
		"__new_sem_wait_slow64":         {"__new_sem_wait_slow64", forCondvar},
		"__libc_start_main":             {"__libc_start_main", nothing},
		"<lambda>":                      {"<lambda>", nothing},
		"":                              {"", nothing},
		"_R":                            {"_R", nothing},
		"<":                             {"<", nothing},
		"a::<":                          {"a", nothing},
		"<>::":                          {"::", nothing},
	} {
		path := Canonical(raw)
		require.Equal(t, want.path, path, raw)
		require.Equal(t, want.wait, waitIn(frame{Name: path}), raw)
	}
	for rule, matches := range map[*regexp.Regexp][]string{
		dropFrames:  {"core::ptr::drop_glue", "core::ptr::drop_in_place", "hangs::threads::Worker::drop", "subtype_dealloc"},
		onceEntries: {"std::sys::sync::once::futex::Once::call", "once_cell::imp::OnceCell::initialize"},
		onceFrames: {"std::sys_common::once::futex::Once::call", "std::sync::once::Once::call_once_force::{closure}",
			"pyo3::sync::GILOnceCell::init", "once_cell::sync::OnceCell::get_or_init",
			"std::sync::once_lock::OnceLock::get_or_init_py_attached", "tokio::sync::once_cell::OnceCell::get_or_init"},
	} {
		for _, name := range matches {
			require.Regexp(t, rule, name)
		}
		require.NotRegexp(t, rule, "std::thread::functions::park")
	}
}

func TestPaths(t *testing.T) {
	for pattern, names := range map[string]struct{ matches, not []string }{
		"a::b":              {[]string{"a::b"}, []string{"a", "b", "a::b::c", "x::a::b"}},
		"**::b":             {[]string{"b", "a::b", "a::c::b"}, []string{"ab", "a::xb"}},
		"a::**":             {[]string{"a", "a::b", "a::b::c"}, []string{"ab", "ab::c"}},
		"a::**::b":          {[]string{"a::b", "a::x::y::b"}, []string{"ab", "a::xb"}},
		"**::*Mutex::lock*": {[]string{"RawMutex::lock", "x::Mutex::lock_slow"}, []string{"Mutex::x::lock", "Mutex::unlock"}},
		"{a,b::c}::d":       {[]string{"a::d", "b::c::d"}, []string{"b::d", "c::d"}},
		"wait{,3}":          {[]string{"wait", "wait3"}, []string{"wait4", "waits"}},
	} {
		for _, name := range names.matches {
			require.Regexp(t, paths(pattern), name, pattern)
		}
		for _, name := range names.not {
			require.NotRegexp(t, paths(pattern), name, pattern)
		}
	}
}
