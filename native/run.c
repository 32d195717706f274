/* Executes a network: the steps in order, over one arena. */

#include "pool.h"

void ek_run(const ek_step *steps, int64_t count, uint8_t *arena, int threads) {
    ek_team team;
    ek_team_claim(&team, threads - 1);
    for (const ek_step *step = steps; step < steps + count; step++)
        if (step->shared && team.members > 1)
            ek_team_run(&team, step, arena);
        else
            step->run(step->op, arena, 0, step->units);
    ek_team_release(&team);
}
