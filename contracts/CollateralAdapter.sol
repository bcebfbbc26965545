// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPositions, PositionHolder} from "./PositionHolder.sol";

interface IPositionIds {
    function getCollectionId(bytes32 parent, bytes32 conditionId, uint256 indexSet) external view returns (bytes32);
    function getPositionId(address collateral, bytes32 collectionId) external pure returns (uint256);
}

/// @title Split, merge and redeem for v1 markets: pUSD to shares in ConditionalTokens, and back, for the caller's wallet.
/// @notice Our own program, with the calls of Polymarket's CtfCollateralAdapter and its neg-risk twin (no conversion of NO sets).
/// Collateral, parent and partition are in the calls for ConditionalTokens' sake, and not looked at. Placed with anvil_setCode; it has no state.
contract CollateralAdapter is PositionHolder {
    IPositions private constant POSITIONS = IPositions(0x4D97DCd97eC945f40cF65F87097ACe5EA0476045);

    function splitPosition(address, bytes32, bytes32 conditionId, uint256[] calldata, uint256 amount) external {
        (uint256 yes, uint256 no) = _ids(conditionId);
        _split(POSITIONS, conditionId, yes, no, amount);
    }

    function mergePositions(address, bytes32, bytes32 conditionId, uint256[] calldata, uint256 amount) external {
        (uint256 yes, uint256 no) = _ids(conditionId);
        _merge(POSITIONS, conditionId, yes, no, amount);
    }

    /// All that the caller holds of both outcomes.
    function redeemPositions(address, bytes32, bytes32 conditionId, uint256[] calldata) external {
        (uint256 yes, uint256 no) = _ids(conditionId);
        POSITIONS.safeTransferFrom(msg.sender, address(this), yes, POSITIONS.balanceOf(msg.sender, yes), "");
        POSITIONS.safeTransferFrom(msg.sender, address(this), no, POSITIONS.balanceOf(msg.sender, no), "");
        _redeemHeld(POSITIONS, conditionId);
    }

    function _ids(bytes32 conditionId) private view returns (uint256 yes, uint256 no) {
        IPositionIds positions = IPositionIds(address(POSITIONS));
        yes = positions.getPositionId(address(PUSD), positions.getCollectionId(bytes32(0), conditionId, 1));
        no = positions.getPositionId(address(PUSD), positions.getCollectionId(bytes32(0), conditionId, 2));
    }
}
