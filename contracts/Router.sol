// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPositions, PositionHolder} from "./PositionHolder.sol";

/// @title Split, merge and redeem for v2 markets: pUSD to shares in PositionManager, and back, for the caller's wallet.
/// @notice Our own program, with the calls of Polymarket's Protocol V2 router. A condition is 31 bytes; with the outcome's byte behind it,
/// it is the position. No combinations. Placed with anvil_setCode; it has no state.
contract Router is PositionHolder {
    error NoSuchOutcome();

    IPositions private constant POSITIONS = IPositions(0x006F54F7f9A22e0000CC2AB60031000000ae9fEF);

    function split(bytes31 conditionId, uint256 amount) external {
        uint256 yes = uint256(bytes32(conditionId));
        _split(POSITIONS, bytes32(yes), yes, yes | 1, amount);
    }

    function merge(bytes31 conditionId, uint256 amount) external {
        uint256 yes = uint256(bytes32(conditionId));
        _merge(POSITIONS, bytes32(yes), yes, yes | 1, amount);
    }

    /// `amount` of the caller's shares of one outcome, worth nothing if it lost.
    function redeem(bytes31 conditionId, uint256 outcomeIndex, uint256 amount) external {
        if (outcomeIndex > 1) revert NoSuchOutcome();
        uint256 yes = uint256(bytes32(conditionId));
        POSITIONS.safeTransferFrom(msg.sender, address(this), yes | outcomeIndex, amount, "");
        _redeemHeld(POSITIONS, bytes32(yes));
    }
}
