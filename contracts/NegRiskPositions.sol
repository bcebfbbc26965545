// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

interface IBalances {
    function balanceOf(address owner, uint256 id) external view returns (uint256);
    function balanceOfBatch(address[] calldata owners, uint256[] calldata ids) external view returns (uint256[] memory);
}

/// @title What clients read of the retired NegRiskAdapter: the balances of neg-risk shares, which ConditionalTokens holds.
/// @notice Our own program. Placed with anvil_setCode; it has no state.
contract NegRiskPositions is IBalances {
    IBalances private constant POSITIONS = IBalances(0x4D97DCd97eC945f40cF65F87097ACe5EA0476045);

    function balanceOf(address owner, uint256 id) external view returns (uint256) {
        return POSITIONS.balanceOf(owner, id);
    }

    function balanceOfBatch(address[] calldata owners, uint256[] calldata ids) external view returns (uint256[] memory) {
        return POSITIONS.balanceOfBatch(owners, ids);
    }
}
