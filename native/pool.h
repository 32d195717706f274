/* The process's pool of threads. A team is what one run of a network has of it. */

#ifndef EK_POOL_H
#define EK_POOL_H

#include "ek.h"

typedef struct ek_team {
    int members; /* helpers and the caller */
    int helpers[EK_MAX_THREADS];
} ek_team;

/* Claim up to `wanted` idle helpers, starting new ones up to EK_MAX_THREADS - 1 in all. */
void ek_team_claim(ek_team *team, int wanted);

/* Do all units of the step, together; return when all are done. */
void ek_team_run(const ek_team *team, const ek_step *step, uint8_t *arena);

void ek_team_release(const ek_team *team);

#endif
