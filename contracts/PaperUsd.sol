// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Paper money with pUSD's six decimals, minted by the paper venue's operator, with transfer failures on demand.
/// @notice Placed with anvil_setCode at pUSD's address: all state is set by initialize, none by a constructor.
contract PaperUsd {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error AlreadyInitialized();
    error InsufficientAllowance();
    error InsufficientBalance();
    error NotOperator();
    error Paused();
    error TransferRefused();

    string public constant name = "Paper USD";
    string public constant symbol = "pUSD";
    uint8 public constant decimals = 6;

    address public operator;
    bool public paused;
    uint256 public failsThroughBlock;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    modifier onlyOperator() {
        if (msg.sender != operator) revert NotOperator();
        _;
    }

    function initialize(address operator_) external {
        if (operator != address(0)) revert AlreadyInitialized();
        operator = operator_;
    }

    function mint(address to, uint256 amount) external onlyOperator {
        _mint(to, amount);
    }

    function mintEach(address[] calldata wallets, uint256 amount) external onlyOperator {
        for (uint256 i = 0; i < wallets.length; i++) _mint(wallets[i], amount);
    }

    function setPaused(bool paused_) external onlyOperator {
        paused = paused_;
    }

    /// Every transfer in the next `blocks` blocks reverts. Counted in blocks: a counter of transfers would be undone by their reverts.
    function setFailNext(uint256 blocks) external onlyOperator {
        failsThroughBlock = block.number + blocks;
    }

    function approve(address spender, uint256 amount) external returns (bool) {
        allowance[msg.sender][spender] = amount;
        emit Approval(msg.sender, spender, amount);
        return true;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        _move(msg.sender, to, amount);
        return true;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        uint256 allowed = allowance[from][msg.sender];
        if (allowed < amount) revert InsufficientAllowance();
        if (allowed != type(uint256).max) allowance[from][msg.sender] = allowed - amount;
        _move(from, to, amount);
        return true;
    }

    function _mint(address to, uint256 amount) private {
        totalSupply += amount;
        balanceOf[to] += amount;
        emit Transfer(address(0), to, amount);
    }

    function _move(address from, address to, uint256 amount) private {
        if (paused) revert Paused();
        if (block.number <= failsThroughBlock) revert TransferRefused();
        if (balanceOf[from] < amount) revert InsufficientBalance();
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        emit Transfer(from, to, amount);
    }
}
