/* Threads that wait for steps.

   A layer of a small network takes some ten microseconds, and waking a sleeping thread as long again. So a helper
   spins for the next step; only when none comes for a while does it sleep on a futex. A helper that wakes too late
   finds its order taken back: nobody waits for it. Each member of a team starts with an equal share of the units and
   then takes from the others what they have not begun: shares keep a thread on the pixels that are in its cache,
   taking evens out what else the machine does. */

#include "pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SPINS = 2000, LINE = 64, PIECES = 4 };
enum { IDLE, ORDERED, WORKING };

typedef struct share {
    _Alignas(LINE) _Atomic int64_t next;
    int64_t end;
} share;

typedef struct work {
    const ek_step *step;
    uint8_t *arena;
    int64_t piece; /* units that are taken at a time */
    int members;
    share shares[EK_MAX_THREADS];
} work;

typedef struct helper {
    _Alignas(LINE) _Atomic uint32_t state;
    _Atomic uint32_t sleeping;
    work *work;
    int member;
    int claimed; /* guarded by `lock`, like `started` and `most` */
} helper;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static helper helpers[EK_MAX_THREADS];
static int started, most = EK_MAX_THREADS - 1;

static void pause_cpu(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void take_part(work *w, int member) {
    for (int i = 0; i < w->members; i++) {
        share *s = &w->shares[(member + i) % w->members];
        for (;;) {
            int64_t begin = atomic_fetch_add(&s->next, w->piece), end = begin + w->piece;
            if (begin >= s->end) break;
            w->step->run(w->step->op, w->arena, begin, end < s->end ? end : s->end);
        }
    }
}

static int is_ordered(helper *self) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&self->state) == ORDERED) return 1;
        pause_cpu();
    }
    return 0;
}

/* Who is woken for an order that is taken back meanwhile spins again, for the next step is near. */
static void wait_for_order(helper *self) {
    while (!is_ordered(self)) {
        atomic_store(&self->sleeping, 1);
        if (atomic_load(&self->state) != ORDERED)
            syscall(SYS_futex, &self->state, FUTEX_WAIT_PRIVATE, IDLE, NULL, NULL, 0);
        atomic_store(&self->sleeping, 0);
    }
}

static void *help(void *given) {
    helper *self = given;
    for (;;) {
        uint32_t ordered = ORDERED;
        wait_for_order(self);
        if (!atomic_compare_exchange_strong(&self->state, &ordered, WORKING)) continue;
        take_part(self->work, self->member);
        atomic_store(&self->state, IDLE);
    }
    return NULL;
}

static void order(helper *h, work *w, int member) {
    h->work = w;
    h->member = member;
    atomic_store(&h->state, ORDERED);
    if (atomic_load(&h->sleeping)) syscall(SYS_futex, &h->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Take the order back, or wait until it is carried out. */
static void finish(helper *h) {
    uint32_t ordered = ORDERED;
    if (atomic_compare_exchange_strong(&h->state, &ordered, IDLE)) return;
    while (atomic_load(&h->state) == WORKING) pause_cpu();
}

void ek_team_run(const ek_team *team, const ek_step *step, uint8_t *arena) {
    work w = {.step = step, .arena = arena, .members = team->members};
    int64_t pieces = (int64_t)PIECES * team->members;
    w.piece = step->units > pieces ? step->units / pieces : 1;
    for (int i = 0; i < team->members; i++) {
        w.shares[i].next = step->units * i / team->members;
        w.shares[i].end = step->units * (i + 1) / team->members;
    }
    for (int i = 1; i < team->members; i++) order(&helpers[team->helpers[i]], &w, i);
    take_part(&w, 0);
    for (int i = 1; i < team->members; i++) finish(&helpers[team->helpers[i]]);
}

/* In a forked child the helpers do not exist. */
static void forget_helpers(void) {
    for (int i = 0; i < started; i++) helpers[i] = (helper){0};
    started = 0;
    lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_helpers);
}

static int start_helper(void) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    pthread_t thread;
    if (started >= most || started == EK_MAX_THREADS - 1) return 0;
    pthread_once(&watched, watch_forks);
    if (pthread_create(&thread, NULL, help, &helpers[started])) return 0;
    pthread_detach(thread);
    started++;
    return 1;
}

void ek_team_claim(ek_team *team, int wanted) {
    team->members = 1;
    if (wanted < 1) return;
    pthread_mutex_lock(&lock);
    for (int i = 0; team->members <= wanted && (i < started || start_helper()); i++) {
        if (helpers[i].claimed) continue;
        helpers[i].claimed = 1;
        team->helpers[team->members++] = i;
    }
    pthread_mutex_unlock(&lock);
}

void ek_limit_helpers(int limit) {
    pthread_mutex_lock(&lock);
    most = limit;
    pthread_mutex_unlock(&lock);
}

void ek_team_release(const ek_team *team) {
    if (team->members == 1) return;
    pthread_mutex_lock(&lock);
    for (int i = 1; i < team->members; i++) helpers[team->helpers[i]].claimed = 0;
    pthread_mutex_unlock(&lock);
}
