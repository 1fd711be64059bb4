// Holds the CUDA kernels, run by the emulator or by a GPU, to the truth, to their CPU twins and to the golden cases
// (check.ts).
//
//   cuda_check similarity|draws|particles few|whole
//   cuda_check golden FILE
#include <cstdio>
#include <string>

#include "check.h"

int main(int argc, char** argv) {
  using namespace fkinv::cuda::check;
  if (argc != 3) return 2;
  const std::string section = argv[1], given = argv[2];
  const Extent extent{given == "whole"};
  try {
    if (section == "similarity") checkSimilarity(extent);
    if (section == "draws") checkDraws(extent);
    if (section == "particles") checkParticles(extent);
    if (section == "golden") {
      Numbers golden(given);
      checkGoldenCoupling(golden);
      checkGoldenPotentials(golden);
      checkGoldenResampling(golden);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
