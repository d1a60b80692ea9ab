// Delays threads where they synchronise, so that a race that is rare becomes frequent. The dynamic loader loads this into
// pytest's process before all other libraries. It does nothing until pyo3test_pressure_arm is called, in the process of
// the test that is under pressure.
//
// A delay only makes a thread slower than it might be anyway. So a program that hangs under pressure can hang without it.
//
// Three kinds of points are delayed: calls of the C library's functions that are listed in POINTS, the starts of threads, and
// edges of functions that were compiled with coverage hooks (-Cpasses=sancov-module). A call of a listed function goes on
// with a jump, and so does the start of a thread, so that this library has no frame on the stack of a thread that waits.
//
// The settings and the counts are on a board: a file that the agent makes, and that all processes of the test share. Its
// layout is also in pressure.py.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HIDDEN __attribute__((visibility("hidden"), used))

// X(function, the version of its symbol where it has several)
#define POINTS(X)                              \
	X(0, pthread_mutex_lock, 0)                \
	X(1, pthread_mutex_unlock, 0)              \
	X(2, pthread_rwlock_rdlock, 0)             \
	X(3, pthread_rwlock_wrlock, 0)             \
	X(4, pthread_rwlock_unlock, 0)             \
	X(5, pthread_cond_wait, "GLIBC_2.3.2")      \
	X(6, pthread_cond_timedwait, "GLIBC_2.3.2") \
	X(7, pthread_cond_clockwait, 0)            \
	X(8, pthread_cond_signal, "GLIBC_2.3.2")    \
	X(9, pthread_cond_broadcast, "GLIBC_2.3.2") \
	X(10, sem_wait, 0)                         \
	X(11, sem_timedwait, 0)                    \
	X(12, sem_clockwait, 0)                    \
	X(13, sem_post, 0)                         \
	X(14, pthread_create, 0)                   \
	X(15, pthread_join, 0)                     \
	X(16, syscall, 0)
enum { COND_TIMEDWAIT = 6, COND_CLOCKWAIT = 7, SEM_TIMEDWAIT = 11, SEM_CLOCKWAIT = 12, CREATE = 14, SYSCALL = 16 };
enum { CALLS = 17, CODE = 17, START = 18, KINDS = 19 }; // what follows the calls has no function

enum { MAGIC = 0x70336F79, SITES = 1024, MODULE = 48 };

// A place that has points: the caller of a listed function, or an edge in instrumented code.
struct site {
	_Atomic uint64_t key;    // of kind, module and offset; 0 if the slot is free
	uint64_t offset;         // in the module, as in its symbol table
	_Atomic uint64_t slept;  // nanoseconds
	_Atomic uint32_t hits;   // while armed
	_Atomic uint32_t delays; // of these
	uint32_t kind;           // an index of POINTS, CODE or START
	uint32_t pad;
	char module[MODULE]; // the name of the module's file, truncated
};

struct board {
	uint64_t magic;
	uint64_t seed;
	uint32_t call_chance;   // of a delay at a listed call, in units of 2^-32
	uint32_t code_chance;   // at an edge that is active
	uint32_t code_share;    // of the edges that are active, if none is directed
	uint32_t directed;      // how many offsets follow the sites; if there are any, only these edges are active
	uint64_t longest;       // delay, in nanoseconds
	uint64_t budget;        // nanoseconds that the threads of a test may sleep together, beside a quarter of the time that passes
	_Atomic uint64_t slept; // nanoseconds
	_Atomic uint32_t timed; // waits with a time limit, other than those of Python's own locks
	_Atomic uint32_t lost;  // hits for which no slot was free
	struct site sites[SITES];
	uint32_t offsets[]; // ascending
};

// What the stubs read: whether anything is to be done before the call goes on.
enum { UNRESOLVED = 1, ARMED = 2 };
HIDDEN uint8_t pyo3test_pressure_state = UNRESOLVED;
HIDDEN void *pyo3test_pressure_real[CALLS];

static struct board *board;
static uint64_t armed_at;           // nanoseconds
static uint64_t slept_before;       // nanoseconds that threads of other tests had slept by then
static _Atomic uint32_t here[SITES]; // how many delays each site has had in this process
static _Atomic uint32_t generation; // how often it was armed
static _Atomic uint32_t ordinals;   // of the threads that have come to a point since then
#if __GLIBC_PREREQ(2, 35)
static int (*find_object)(void *, struct dl_find_object *);
#endif

static __thread struct {
	uint32_t generation, ordinal;
	uint32_t passed[KINDS]; // points of each kind
	uint8_t busy;
} self __attribute__((tls_model("initial-exec")));

#if defined(__x86_64__)

// The stack is aligned where point is called: at a function's entry it is 8 bytes off, and seven registers are pushed.
#define STUB(index, name, version)                                                                     \
	__asm__(".text\n.globl " #name "\n.type " #name ", @function\n" #name ":\n.cfi_startproc\n"        \
			"cmpb $0, pyo3test_pressure_state(%rip)\njne 1f\n"                                          \
			"jmp *pyo3test_pressure_real+8*" #index "(%rip)\n"                                          \
			"1:\npush %rax\n.cfi_adjust_cfa_offset 8\npush %r9\n.cfi_adjust_cfa_offset 8\n"             \
			"push %r8\n.cfi_adjust_cfa_offset 8\npush %rcx\n.cfi_adjust_cfa_offset 8\n"                 \
			"push %rdx\n.cfi_adjust_cfa_offset 8\npush %rsi\n.cfi_adjust_cfa_offset 8\n"                \
			"push %rdi\n.cfi_adjust_cfa_offset 8\n"                                                     \
			"mov $" #index ", %edi\nmov 56(%rsp), %rsi\nmov %rsp, %rdx\ncall pyo3test_pressure_point\n" \
			"pop %rdi\n.cfi_adjust_cfa_offset -8\npop %rsi\n.cfi_adjust_cfa_offset -8\n"                \
			"pop %rdx\n.cfi_adjust_cfa_offset -8\npop %rcx\n.cfi_adjust_cfa_offset -8\n"                \
			"pop %r8\n.cfi_adjust_cfa_offset -8\npop %r9\n.cfi_adjust_cfa_offset -8\n"                  \
			"pop %rax\n.cfi_adjust_cfa_offset -8\n"                                                     \
			"jmp *pyo3test_pressure_real+8*" #index "(%rip)\n"                                          \
			".cfi_endproc\n.size " #name ", . - " #name "\n");

// Where a thread starts whose start was put off: its first function and argument come from begin_thread.
__asm__(".text\n.type pyo3test_pressure_start, @function\npyo3test_pressure_start:\n.cfi_startproc\n"
		"sub $8, %rsp\n.cfi_adjust_cfa_offset 8\ncall pyo3test_pressure_begin_thread\nadd $8, %rsp\n"
		".cfi_adjust_cfa_offset -8\nmov %rdx, %rdi\njmp *%rax\n"
		".cfi_endproc\n.size pyo3test_pressure_start, . - pyo3test_pressure_start\n");

static long raw(long number, long a, long b, long c, long d) {
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
	return result;
}

#elif defined(__aarch64__)

#define STUB(index, name, version)                                                                                \
	__asm__(".text\n.globl " #name "\n.type " #name ", %function\n" #name ":\n.cfi_startproc\n"                   \
			"adrp x16, pyo3test_pressure_state\nldrb w16, [x16, #:lo12:pyo3test_pressure_state]\ncbz w16, 1f\n"     \
			"stp x29, x30, [sp, #-96]!\n.cfi_adjust_cfa_offset 96\n.cfi_rel_offset x29, 0\n.cfi_rel_offset x30, 8\n" \
			"stp x0, x1, [sp, #16]\nstp x2, x3, [sp, #32]\nstp x4, x5, [sp, #48]\nstp x6, x7, [sp, #64]\n"           \
			"str x8, [sp, #80]\nmov w0, #" #index "\nmov x1, x30\nadd x2, sp, #16\nbl pyo3test_pressure_point\n"     \
			"ldp x0, x1, [sp, #16]\nldp x2, x3, [sp, #32]\nldp x4, x5, [sp, #48]\nldp x6, x7, [sp, #64]\n"           \
			"ldr x8, [sp, #80]\nldp x29, x30, [sp], #96\n.cfi_adjust_cfa_offset -96\n"                              \
			".cfi_restore x29\n.cfi_restore x30\n"                                                                  \
			"1:\nadrp x16, pyo3test_pressure_real\nadd x16, x16, #:lo12:pyo3test_pressure_real\n"                   \
			"ldr x16, [x16, #8*" #index "]\nbr x16\n"                                                               \
			".cfi_endproc\n.size " #name ", . - " #name "\n");

// Where a thread starts whose start was put off: its first function and argument come from begin_thread.
__asm__(".text\n.type pyo3test_pressure_start, %function\npyo3test_pressure_start:\n.cfi_startproc\n"
		"stp x29, x30, [sp, #-16]!\n.cfi_adjust_cfa_offset 16\n.cfi_rel_offset x29, 0\n.cfi_rel_offset x30, 8\n"
		"bl pyo3test_pressure_begin_thread\nldp x29, x30, [sp], #16\n.cfi_adjust_cfa_offset -16\n"
		".cfi_restore x29\n.cfi_restore x30\nmov x16, x0\nmov x0, x1\nbr x16\n"
		".cfi_endproc\n.size pyo3test_pressure_start, . - pyo3test_pressure_start\n");

static long raw(long number, long a, long b, long c, long d) {
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

#else
#error "no stubs for this architecture"
#endif

POINTS(STUB)

// resolve finds the functions that the stubs stand in for. dlsym alone would return the oldest version of some.
static void resolve(void) {
#define RESOLVE(index, name, version)                                                          \
	{                                                                                          \
		const char *wanted = version;                                                          \
		void *found = wanted ? dlvsym(RTLD_NEXT, #name, wanted) : NULL;                        \
		pyo3test_pressure_real[index] = found ? found : dlsym(RTLD_NEXT, #name);               \
	}
	POINTS(RESOLVE)
#if __GLIBC_PREREQ(2, 35)
	find_object = (int (*)(void *, struct dl_find_object *))dlsym(RTLD_DEFAULT, "_dl_find_object");
#endif
	pyo3test_pressure_state &= ~UNRESOLVED;
}

__attribute__((constructor)) static void begin(void) {
	resolve();
	const char *name = getenv("PYO3TEST_PRESSURE");
	int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
	struct stat status;
	if (fd < 0)
		return;
	if (fstat(fd, &status) == 0 && (size_t)status.st_size >= sizeof(struct board)) {
		struct board *mapped = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		size_t room = (status.st_size - sizeof(struct board)) / sizeof(uint32_t);
		if (mapped != MAP_FAILED && mapped->magic == MAGIC && mapped->directed <= room)
			board = mapped;
	}
	close(fd);
}

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

// pyo3test_pressure_arm begins or ends the delays in this process, and returns 0 if there is no board.
int pyo3test_pressure_arm(int on) {
	if (!board)
		return 0;
	if (on && !(pyo3test_pressure_state & ARMED)) {
		if (!armed_at) {
			armed_at = now();
			slept_before = board->slept;
		}
		ordinals = 0;
		generation++;
	}
	pyo3test_pressure_state = on ? ARMED : 0;
	return 1;
}

// mix spreads a number over 64 bits: the finaliser of splitmix64, by Sebastiano Vigna.
static uint64_t mix(uint64_t x) {
	x += 0x9E3779B97F4A7C15ull;
	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
	x = (x ^ x >> 27) * 0x94D049BB133111EBull;
	return x ^ x >> 31;
}

struct place {
	const char *module;
	uint64_t offset;
};

// locate finds a place without a lock of the loader's: a wait for that lock here could be a deadlock of our own making. An
// older C library has no function for that: the module is then "?", and no edge can be directed.
static struct place locate(void *address) {
	struct place place = {"?", (uint64_t)address};
#if __GLIBC_PREREQ(2, 35)
	struct dl_find_object found;
	if (!find_object || find_object(address, &found) != 0)
		return place;
	const char *name = found.dlfo_link_map->l_name;
	const char *slash = strrchr(name, '/');
	place.module = slash ? slash + 1 : name;
	place.offset = (uint64_t)address - found.dlfo_link_map->l_addr;
#endif
	return place;
}

static uint64_t key(uint32_t kind, struct place place) {
	uint64_t sum = mix(kind + 1);
	for (const char *c = place.module; *c; c++)
		sum = mix(sum ^ (uint8_t)*c);
	sum = mix(sum ^ place.offset);
	return sum ? sum : 1;
}

// slot returns the site of a place, or NULL if the board is full.
static struct site *slot(uint32_t kind, struct place place, uint64_t id) {
	for (uint32_t tries = 0; tries < 64; tries++) {
		struct site *site = &board->sites[(id + tries) % SITES];
		uint64_t free = 0;
		if (site->key == 0 && atomic_compare_exchange_strong(&site->key, &free, id)) {
			site->kind = kind;
			site->offset = place.offset;
			strncpy(site->module, place.module, MODULE - 1);
		}
		if (site->key == id)
			return site;
	}
	board->lost++;
	return NULL;
}

// sleep_for lets this thread sleep, in a call that no one intercepts and that leaves errno alone.
static void sleep_for(uint64_t nanoseconds) {
	if (nanoseconds < 20000) { // a timer would take longer
		for (uint64_t end = now() + nanoseconds; now() < end;) {
		}
		return;
	}
	struct timespec t = {nanoseconds / 1000000000, nanoseconds % 1000000000};
	raw(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)&t, 0);
}

enum { FREELY = 16 };

// maybe_delay decides by the seed, the thread's ordinal and how many points it has passed, so that a seed fixes the noise.
static void maybe_delay(uint32_t kind, struct site *site, uint64_t id, uint32_t chance) {
	if (self.generation != generation) {
		self.generation = generation;
		self.ordinal = ++ordinals;
		memset(self.passed, 0, sizeof self.passed);
	}
	uint64_t random = mix(board->seed ^ mix(id ^ mix((uint64_t)self.ordinal << 32 | self.passed[kind]++)));
	if (site) {
		site->hits++;
		uint32_t delays = here[site - board->sites];
		if (delays > FREELY) // a busy site must not use up the budget of the others
			chance = (uint64_t)chance * FREELY / delays;
	}
	if ((uint32_t)random >= chance || board->slept - slept_before > board->budget + (now() - armed_at) / 4)
		return;
	random = mix(random);
	uint64_t octave = 1000ull << random % 14; // 1 microsecond to 8 milliseconds
	uint64_t delay = octave + (random >> 32) % octave;
	if (delay > board->longest)
		delay = board->longest;
	if (site) {
		site->delays++;
		here[site - board->sites]++;
		site->slept += delay;
	}
	board->slept += delay;
	sleep_for(delay);
}

// python reports whether a module is Python itself, whose GIL is taken with a time limit all the time, or may be.
static int python(const char *module) {
	return *module == 0 || *module == '?' || !strncmp(module, "python", 6) || !strncmp(module, "libpython", 9);
}

// far reports whether a time is more than 6 milliseconds from now: the interpreter itself waits in steps of 5 at most.
static int far(clockid_t clock, const struct timespec *end) {
	struct timespec t;
	clock_gettime(clock, &t);
	return (end->tv_sec - t.tv_sec) * 1000000000ll + end->tv_nsec - t.tv_nsec > 6000000;
}

// timed reports whether a call waits with a time limit that the test's code has set.
static int timed(uint32_t kind, const uint64_t *args, const char *module) {
	switch (kind) {
	case SEM_TIMEDWAIT:
		return !python(module) || far(CLOCK_REALTIME, (const struct timespec *)args[1]);
	case SEM_CLOCKWAIT:
		return !python(module) || far((clockid_t)args[1], (const struct timespec *)args[2]);
	case COND_TIMEDWAIT:
	case COND_CLOCKWAIT:
		return !python(module);
	case SYSCALL:
		return ((args[2] & FUTEX_CMD_MASK) == FUTEX_WAIT || (args[2] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET) && args[4];
	}
	return 0;
}

// The first function of a thread, and its argument.
struct first {
	void *function, *argument;
};

extern void pyo3test_pressure_start(void);

// put_off makes a new thread start with begin_thread, by other arguments of pthread_create.
static void put_off(uint64_t *args) {
	struct first *first = malloc(sizeof *first);
	if (!first)
		return;
	*first = (struct first){(void *)args[2], (void *)args[3]};
	args[2] = (uint64_t)pyo3test_pressure_start;
	args[3] = (uint64_t)first;
}

// begin_thread is the first thing that a new thread does. It returns what that was started with.
HIDDEN struct first pyo3test_pressure_begin_thread(struct first *put) {
	struct first first = *put;
	free(put);
	if (pyo3test_pressure_state & ARMED) {
		self.busy = 1;
		struct place place = locate(first.function);
		uint64_t id = key(START, place);
		maybe_delay(START, slot(START, place, id), id, board->call_chance);
		self.busy = 0;
	}
	return first;
}

// point is what a stub calls before its function, with the function's arguments. The program is here only if it is armed or
// if a library's constructor came before ours.
HIDDEN void pyo3test_pressure_point(uint32_t kind, void *caller, uint64_t *args) {
	if (pyo3test_pressure_state & UNRESOLVED)
		resolve();
	if (!(pyo3test_pressure_state & ARMED) || !board || self.busy)
		return;
	if (kind == SYSCALL && args[0] != SYS_futex)
		return;
	self.busy = 1; // a signal's handler may come here
	struct place place = locate(caller);
	if (timed(kind, args, place.module))
		board->timed++;
	if (board->call_chance) {
		uint64_t id = key(kind, place);
		maybe_delay(kind, slot(kind, place, id), id, board->call_chance);
		if (kind == CREATE)
			put_off(args);
	}
	self.busy = 0;
}

// The states of an edge in this process, as its guard.
enum { OFF = 0, UNDECIDED = 1, ACTIVE = 2 }; // an active one counts on from there

// How often an active edge is passed before it is off: those in hot loops would cost more than their delays.
enum { PASSES = 20000 };

// An entry of the table of edges that the compiler makes beside the guards.
struct edge {
	uint64_t address, flags;
};

// What the modules with hooks have told: the edges of each, in the order of its guards.
enum { MODULES = 32 };
static struct {
	uint32_t *guards, *end;
	const struct edge *edges;
} modules[MODULES];
static int newest; // of them, which one is being loaded

// edge_at returns the place of the edge that has a guard.
static struct place edge_at(uint32_t *guard) {
	for (int i = 0; i < MODULES && modules[i].guards; i++)
		if (guard >= modules[i].guards && guard < modules[i].end && modules[i].edges)
			return locate((void *)modules[i].edges[guard - modules[i].guards].address);
	return locate(guard);
}

// directed reports whether an offset is among those on the board.
static int directed(uint64_t offset) {
	uint32_t low = 0, high = board->directed;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (board->offsets[middle] < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low < board->directed && board->offsets[low] == offset;
}

// The hook at each edge, by the interface of LLVM's SanitizerCoverage, as are the two below.
void __sanitizer_cov_trace_pc_guard(uint32_t *guard) {
	if (!(pyo3test_pressure_state & ARMED) || *guard == OFF || self.busy)
		return;
	self.busy = 1;
	struct place place = edge_at(guard);
	uint64_t id = key(CODE, place);
	if (*guard == UNDECIDED) {
		int active = board->directed ? directed(place.offset) : (uint32_t)mix(board->seed ^ id) < board->code_share;
		*guard = active && board->code_chance ? ACTIVE : OFF;
	}
	if (*guard >= ACTIVE && ++*guard > PASSES)
		*guard = OFF;
	if (*guard != OFF)
		maybe_delay(CODE, slot(CODE, place, id), id, board->code_chance);
	self.busy = 0;
}

// The loader's calls for each module that has hooks, with its guards, and with its edges. Each unit of compilation has its
// own, with the same arguments.
void __sanitizer_cov_trace_pc_guard_init(uint32_t *start, uint32_t *stop) {
	int i = 0;
	while (i < MODULES && modules[i].guards && modules[i].guards != start)
		i++;
	newest = i;
	if (i == MODULES || modules[i].guards)
		return;
	modules[i].end = stop;
	modules[i].guards = start;
	for (; start < stop; start++)
		*start = UNDECIDED;
}

void __sanitizer_cov_pcs_init(const struct edge *start, const struct edge *stop) {
	(void)stop;
	if (newest < MODULES)
		modules[newest].edges = start;
}
