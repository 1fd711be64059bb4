#pragma once
#include "pass_result.h"

namespace fkinv::kernels {

/// K2: the tiles of state `state`, in order, → its row statistics and S. With m = max m_j and s_j = 2^(m_j − m), exact:
/// L = Σ L_j s_j, T = Σ s_j (T_j + L_j (m_j − m)), S_ij = A_ij/(L_i L_j), entropy ln2·(log2 L − T/L); A = Σ A_c s_i s_j
/// over the chunks. The tiles' weights become multiples of 2^(m/τ). A row with NaN or +inf logits, or with nothing
/// left, gets its fault; its S and entropy mean nothing.
void mergeState(const Logits& z, double temperature, const TileTable& tiles, const RowStats& out, int state);

}  // namespace fkinv::kernels
