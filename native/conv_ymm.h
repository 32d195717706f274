/* The tiles that 16 registers of 32 bytes hold: see conv_walk.h. */

#include "vector_ymm.h"

#define SINGLES_ABREAST
#define SINGLES(TILE)                                                                                            \
    TILE(wide, 1) TILE(wide, 2) TILE(wide, 3) TILE(wide, 4) TILE(wide, 5) TILE(wide, 6) TILE(wide, 7) TILE(wide, 8) \
    TILE(wide, 9) TILE(wide, 10) TILE(wide, 11) TILE(wide, 12) TILE(wide, 13) TILE(wide, 14)
#define FOURS(TILE) TILE(fours, 1) TILE(fours, 2) TILE(fours, 3)
#define EIGHTS(TILE) TILE(eights, 1)
#define PLANARS(TILE) TILE(planar, 1) TILE(planar, 2)
