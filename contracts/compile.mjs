// Compiles our contracts with npm's solc. Writes services/paper_venue/chain/compiled/<name>.json and
// shared/chain/snapshot_code.py, or all of them into an output folder if one is given.
// `npm ci --ignore-scripts && node compile.mjs [output folder]`
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const output = process.argv[2] ?? join(here, "..", "services", "paper_venue", "chain", "compiled");
const snapshotModule = process.argv[2]
  ? join(output, "snapshot_code.py")
  : join(here, "..", "shared", "chain", "snapshot_code.py");
const contracts = [
  "CollateralAdapter", "DepositWallet", "Exchange", "NegRiskPositions", "PaperUsd", "PositionManager",
  "ProxyFactory", "ProxyWallet", "RelayHub", "Router", "Snapshot",
];
const files = [...contracts, "Interfaces", "PositionHolder", "ShareReceiver"].map((name) => `${name}.sol`).sort();

const sources = Object.fromEntries(
  files.map((file) => [file, { content: readFileSync(join(here, file), "utf8") }]),
);
const settings = {
  evmVersion: "cancun",
  viaIR: true,
  optimizer: { enabled: true, runs: 10000 },
  metadata: { bytecodeHash: "none", appendCBOR: false }, // the bytecode depends on the source alone
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};
const input = JSON.stringify({ language: "Solidity", sources, settings });
const result = JSON.parse(solc.compile(input));
const problems = result.errors ?? [];
for (const problem of problems) console.error(problem.formattedMessage);
if (problems.length > 0) process.exit(1);

const sourceHash = createHash("sha256")
  .update(files.map((file) => sources[file].content).join("\0"))
  .digest("hex");
mkdirSync(output, { recursive: true });
for (const name of contracts) {
  const { abi, evm } = result.contracts[`${name}.sol`][name];
  const compiled = {
    contract: name,
    compiler: solc.version(),
    sources_sha256: sourceHash,
    abi,
    bytecode: `0x${evm.bytecode.object}`,
    runtime_bytecode: `0x${evm.deployedBytecode.object}`,
  };
  writeFileSync(join(output, `${name}.json`), `${JSON.stringify(compiled, null, 1)}\n`);
}

const snapshot = result.contracts["Snapshot.sol"].Snapshot.evm.bytecode.object;
const lines = `0x${snapshot}`.match(/.{1,94}/g).map((line) => `    "${line}"\n`);
writeFileSync(
  snapshotModule,
  `"""Creation code of contracts/Snapshot.sol, which contracts/compile.mjs writes here."""\n\n` +
    `from typing import Final\n\nSNAPSHOT_CREATION_CODE: Final = (\n${lines.join("")})\n`,
);
