// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC1155Receiver, IERC20} from "./Interfaces.sol";

/// @title The positions of Protocol V2 markets on a local chain: ERC-1155 ids that name their condition, backed one to one by pUSD.
/// @notice Our own program. It offers the calls of ConditionalTokens, so that one Exchange settles both kinds of market; the ids follow
/// Polymarket's published layout: module 8 bits | base hash 128 | arity 16 | reserved 64 | resolution chain 16 | condition 16 | outcome 8.
/// A condition id is the id of its YES position (outcome 0); NO is outcome 1. Unused parameters are there for the common interface.
/// Placed with anvil_setCode: its state is set by initialize, none by a constructor.
contract PositionManager {
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);
    event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value);
    event ConditionPreparation(bytes32 indexed conditionId, address indexed oracle, bytes32 indexed questionId, uint256 outcomeSlotCount);
    event ConditionResolution(bytes32 indexed conditionId, address indexed oracle, bytes32 indexed questionId, uint256[] payouts);

    error AlreadyInitialized();
    error AlreadyPrepared();
    error AlreadyResolved();
    error InsufficientBalance();
    error InvalidPayouts();
    error MismatchedArrayLengths();
    error NotApproved();
    error NotPrepared();
    error NotResolved();
    error TransferFailed();
    error TransferRefused();

    struct Condition {
        bool prepared;
        uint256 yesPayout;
        uint256 noPayout;
    }

    IERC20 public collateral;
    mapping(bytes32 => Condition) public conditions;
    mapping(uint256 => mapping(address => uint256)) private balances;
    mapping(address => mapping(address => bool)) public isApprovedForAll;

    function initialize(IERC20 collateral_) external {
        if (address(collateral) != address(0)) revert AlreadyInitialized();
        collateral = collateral_;
    }

    /// Only the oracle that is part of the id can resolve the condition.
    function prepareCondition(address oracle, bytes32 questionId, uint256 outcomeSlotCount) external {
        bytes32 conditionId = getConditionId(oracle, questionId, outcomeSlotCount);
        if (conditions[conditionId].prepared) revert AlreadyPrepared();
        conditions[conditionId].prepared = true;
        emit ConditionPreparation(conditionId, oracle, questionId, outcomeSlotCount);
    }

    function reportPayouts(bytes32 questionId, uint256[] calldata payouts) external {
        bytes32 conditionId = getConditionId(msg.sender, questionId, 2);
        Condition storage condition = _prepared(conditionId);
        if (payouts.length != 2 || payouts[0] + payouts[1] == 0) revert InvalidPayouts();
        if (payoutDenominator(conditionId) != 0) revert AlreadyResolved();
        (condition.yesPayout, condition.noPayout) = (payouts[0], payouts[1]);
        emit ConditionResolution(conditionId, msg.sender, questionId, payouts);
    }

    function splitPosition(address, bytes32, bytes32 conditionId, uint256[] calldata, uint256 amount) external {
        _prepared(conditionId);
        if (!collateral.transferFrom(msg.sender, address(this), amount)) revert TransferFailed();
        _mint(msg.sender, uint256(conditionId), amount);
        _mint(msg.sender, uint256(conditionId) | 1, amount);
    }

    function mergePositions(address, bytes32, bytes32 conditionId, uint256[] calldata, uint256 amount) external {
        _prepared(conditionId);
        _burn(msg.sender, uint256(conditionId), amount);
        _burn(msg.sender, uint256(conditionId) | 1, amount);
        if (!collateral.transfer(msg.sender, amount)) revert TransferFailed();
    }

    function redeemPositions(address, bytes32, bytes32 conditionId, uint256[] calldata) external {
        Condition storage condition = _prepared(conditionId);
        uint256 denominator = payoutDenominator(conditionId);
        if (denominator == 0) revert NotResolved();
        uint256 yes = balances[uint256(conditionId)][msg.sender];
        uint256 no = balances[uint256(conditionId) | 1][msg.sender];
        _burn(msg.sender, uint256(conditionId), yes);
        _burn(msg.sender, uint256(conditionId) | 1, no);
        uint256 payout = yes * condition.yesPayout / denominator + no * condition.noPayout / denominator;
        if (payout > 0 && !collateral.transfer(msg.sender, payout)) revert TransferFailed();
    }

    function setApprovalForAll(address operator, bool approved) external {
        isApprovedForAll[msg.sender][operator] = approved;
        emit ApprovalForAll(msg.sender, operator, approved);
    }

    function safeTransferFrom(address from, address to, uint256 id, uint256 amount, bytes calldata data) external {
        if (msg.sender != from && !isApprovedForAll[from][msg.sender]) revert NotApproved();
        if (balances[id][from] < amount) revert InsufficientBalance();
        balances[id][from] -= amount;
        balances[id][to] += amount;
        emit TransferSingle(msg.sender, from, to, id, amount);
        _requireReceived(from, to, id, amount, data);
    }

    function balanceOf(address owner, uint256 id) external view returns (uint256) {
        return balances[id][owner];
    }

    function balanceOfBatch(address[] calldata owners, uint256[] calldata ids) external view returns (uint256[] memory found) {
        if (owners.length != ids.length) revert MismatchedArrayLengths();
        found = new uint256[](ids.length);
        for (uint256 i = 0; i < ids.length; i++) found[i] = balances[ids[i]][owners[i]];
    }

    /// Zero until the condition is resolved.
    function payoutDenominator(bytes32 conditionId) public view returns (uint256) {
        return conditions[conditionId].yesPayout + conditions[conditionId].noPayout;
    }

    /// A binary condition's id: module 1, the hash, arity 2, and zeros where the outcome goes.
    function getConditionId(address oracle, bytes32 questionId, uint256 outcomeSlotCount) public pure returns (bytes32) {
        uint256 baseHash = uint256(keccak256(abi.encodePacked(oracle, questionId, outcomeSlotCount))) >> 128;
        return bytes32(uint256(1) << 248 | baseHash << 120 | outcomeSlotCount << 104);
    }

    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == 0x01ffc9a7 || interfaceId == 0xd9b67a26;
    }

    function _prepared(bytes32 conditionId) private view returns (Condition storage condition) {
        condition = conditions[conditionId];
        if (!condition.prepared) revert NotPrepared();
    }

    function _mint(address to, uint256 id, uint256 amount) private {
        balances[id][to] += amount;
        emit TransferSingle(msg.sender, address(0), to, id, amount);
        _requireReceived(address(0), to, id, amount, "");
    }

    function _burn(address from, uint256 id, uint256 amount) private {
        if (balances[id][from] < amount) revert InsufficientBalance();
        balances[id][from] -= amount;
        emit TransferSingle(msg.sender, from, address(0), id, amount);
    }

    function _requireReceived(address from, address to, uint256 id, uint256 amount, bytes memory data) private {
        if (to.code.length == 0) return;
        bytes4 answer = IERC1155Receiver(to).onERC1155Received(msg.sender, from, id, amount, data);
        if (answer != IERC1155Receiver.onERC1155Received.selector) revert TransferRefused();
    }
}
