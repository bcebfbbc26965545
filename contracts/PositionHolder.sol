// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IConditionalTokens, IERC20} from "./Interfaces.sol";
import {ShareReceiver} from "./ShareReceiver.sol";

interface IPusd is IERC20 {
    function balanceOf(address owner) external view returns (uint256);
}

/// What a contract that converts positions asks of ConditionalTokens, and of PositionManager, which offers the same.
interface IPositions is IConditionalTokens {
    function balanceOf(address owner, uint256 id) external view returns (uint256);
    function redeemPositions(address collateral, bytes32 parent, bytes32 conditionId, uint256[] calldata indexSets) external;
}

/// @title What every contract needs that turns pUSD into shares and back for its caller: it holds both only while it runs.
abstract contract PositionHolder is ShareReceiver {
    error TransferFailed();

    IPusd internal constant PUSD = IPusd(0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB);

    /// The caller's pUSD becomes `amount` shares of YES and of NO in his wallet.
    function _split(IPositions positions, bytes32 conditionId, uint256 yes, uint256 no, uint256 amount) internal {
        if (!PUSD.transferFrom(msg.sender, address(this), amount)) revert TransferFailed();
        PUSD.approve(address(positions), amount);
        positions.splitPosition(address(PUSD), bytes32(0), conditionId, _yesAndNo(), amount);
        positions.safeTransferFrom(address(this), msg.sender, yes, amount, "");
        positions.safeTransferFrom(address(this), msg.sender, no, amount, "");
    }

    /// `amount` of the caller's YES and NO become pUSD in his wallet.
    function _merge(IPositions positions, bytes32 conditionId, uint256 yes, uint256 no, uint256 amount) internal {
        positions.safeTransferFrom(msg.sender, address(this), yes, amount, "");
        positions.safeTransferFrom(msg.sender, address(this), no, amount, "");
        positions.mergePositions(address(PUSD), bytes32(0), conditionId, _yesAndNo(), amount);
        if (!PUSD.transfer(msg.sender, amount)) revert TransferFailed();
    }

    /// What this contract holds of a resolved condition becomes pUSD in the caller's wallet.
    function _redeemHeld(IPositions positions, bytes32 conditionId) internal {
        uint256 before = PUSD.balanceOf(address(this));
        positions.redeemPositions(address(PUSD), bytes32(0), conditionId, _yesAndNo());
        if (!PUSD.transfer(msg.sender, PUSD.balanceOf(address(this)) - before)) revert TransferFailed();
    }

    function _yesAndNo() private pure returns (uint256[] memory partition) {
        partition = new uint256[](2);
        (partition[0], partition[1]) = (1, 2);
    }
}
